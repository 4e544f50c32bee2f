# SPDX-License-Identifier: Apache-2.0
"""Slurm's TaskProlog, as the user, in the task's cgroup: tell the job where its Docker is.

slurmstepd reads our standard output: `export NAME=value` sets a variable of the
task, `print …` writes to the job's own output (slurm.conf(5), TaskProlog). The
environment is the user's, so nothing here is a boundary; it is a courtesy, and
it never fails a task.
"""

from __future__ import annotations

import _socket  # the socket module's own core: `socket` would add enum and selectors, 4 ms a task
import os

RUN = "/run/slurm-hooks"
SECONDS = 0.5  # a broker that hangs costs a task this much, once


def main() -> int:
    """Print for slurmstepd; always 0."""
    path = socket_path()
    print(f"export DOCKER_HOST=unix://{path}")
    try:
        status, text = asked(path, "join", SECONDS)
    except (OSError, ValueError) as error:
        status, text = 0, f"the broker does not answer ({getattr(error, 'strerror', None) or error})"
    if status != 200 and is_first_task():
        text = f"slurm-hooks: no containers in this job: {_words(text)}"
    elif status != 200:
        text = ""
    for line in text.splitlines():
        print(f"print {line}")
    return 0


def socket_path() -> str:
    """The user's own socket, which no neighbour's flood can reach; everybody's where the broker has not made one."""
    own = f"{RUN}/users/{os.getuid()}.sock"
    return own if os.path.exists(own) else f"{RUN}/docker.sock"


def asked(path: str, what: str, seconds: float) -> tuple[int, str]:
    """Ask the broker: to `join` brings this task under the job's pids limit; (HTTP status, lines for the user or "").

    The broker sees by the kernel who asks; `seconds` is for each part of its answer. Raises OSError.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
        request = f"POST /slurm-hooks/{what} HTTP/1.1\r\nHost: slurm-hooks\r\nContent-Length: 0\r\n\r\n"
        connection.send(request.encode())
        answer = b""
        while not _whole(answer):
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    finally:
        connection.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return status, body.decode("utf-8", "replace")


def _words(text: str) -> str:
    """The broker's own words where it answered as to a docker client. Only on the unhealthy path: json costs."""
    import json

    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return True


def is_first_task() -> bool:
    """The batch step's task, or task 0 of a step, on the job's first node."""
    return os.environ.get("SLURM_PROCID", "0") == "0" and os.environ.get("SLURM_NODEID", "0") == "0"

# SPDX-License-Identifier: Apache-2.0
"""Bytes on the docker socket: sent as a job's user to the broker, or as root to dockerd itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.cluster.slurm import Cluster

BROKER = "/run/slurm-hooks/docker.sock"
DOCKERD = "/run/slurm-hooks-docker/docker.sock"
# A case is a list of parts: text, or [text, times]. The write side is shut only when an answer has begun, since
# dockerd gives up a request whose client has left.
CLIENT = """
import json, socket, sys
path, cases = json.loads(sys.stdin.readline())
for name, parts in cases.items():
    got = b""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        try:
            s.connect(path)
            for part in parts:
                text, times = (part, 1) if isinstance(part, str) else part
                s.sendall(text.encode("utf-8", "surrogateescape") * times)
            got += s.recv(65536)
            s.shutdown(socket.SHUT_WR)
            while data := s.recv(65536):
                got += data
        except OSError as error:  # cut off by the other side, which may have answered before
            try:
                while data := s.recv(65536):
                    got += data
            except OSError:
                pass
            got += f"\\nERROR {error}".encode()
    print("ANSWER", json.dumps([name, got.decode("latin-1")]), flush=True)
"""
Parts = list[str | list[str | int]]


@dataclass(frozen=True)
class Said:
    """Everything that came back on a connection."""

    text: str

    @property
    def statuses(self) -> list[int]:
        """Of each answer, in order."""
        return [int(status) for status in re.findall(r"^HTTP/1\.[01] (\d{3})", self.text, re.MULTILINE)]

    @property
    def status(self) -> int:
        """Of the first answer; 0: the connection was closed without one."""
        return next(iter(self.statuses), 0)


def request(method: str, target: str, body: Any = None, *headers: str) -> str:
    """A well-formed request; `body` a JSON value, or text that is sent as it is."""
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body, ensure_ascii=False)
    lines = [f"{method} {target} HTTP/1.1", "Host: docker", *headers]
    if not any(header.lower().startswith("content-type") for header in headers) and text:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, f"Content-Length: {len(text.encode())}", "", text])


def create(name: str, body: Any) -> str:
    """POST /containers/create."""
    return request("POST", f"/containers/create?name={name}", body)


def script(socket: str, cases: dict[str, Parts]) -> str:
    """The shell that sends cases from where it runs."""
    said = json.dumps([socket, cases])
    return f"cat > $HOME/.wire.py <<'END_OF_CLIENT'\n{CLIENT}\nEND_OF_CLIENT\n" + (
        f"/usr/bin/python3 -I $HOME/.wire.py <<'END_OF_CASES'\n{said}\nEND_OF_CASES\nrm $HOME/.wire.py"
    )


def _answers(out: str, cases: dict[str, Parts]) -> dict[str, Said]:
    lines = [line.removeprefix("ANSWER ") for line in out.splitlines() if line.startswith("ANSWER ")]
    found = {name: Said(text) for name, text in map(json.loads, lines)}
    assert set(found) == set(cases), out
    return found


def in_a_job(
    cluster: Cluster, cases: dict[str, Parts], *, user: str = "ann", before: str = "", after: str = ""
) -> dict[str, Said]:
    """Send each case to the broker, on a connection of its own, from one job; `before` and `after` are shell."""
    done = cluster.srun(f"{before}\n{script(BROKER, cases)}\n{after}", user=user, timeout=120)
    return _answers(done.out, cases)


def to_dockerd(cluster: Cluster, cases: dict[str, Parts]) -> dict[str, Said]:
    """Send each case to dockerd itself, as root."""
    done = cluster.sh(cluster.node, "bash -s", stdin=script(DOCKERD, cases), timeout=120)  # too long for an argument
    return _answers(done.out, cases)

# SPDX-License-Identifier: Apache-2.0
"""docker exec: another program in a container of the job's, as its container's user, without privileges.

Stops: `--privileged` and `--user 0`, by which an exec is more than the container that it runs in.
Costs: nothing. Docker: docker exec. What confines the container confines its execs: namespaces, cgroup, seccomp.
"""

from __future__ import annotations

from typing import Any

from slurm_hooks.broker.model import ExecCreate, ExecStart
from slurm_hooks.errors import BadRequest, Refused
from slurm_hooks.knobs import identity
from slurm_hooks.knobs.contract import Row
from slurm_hooks.knobs.process import working_directory

CREATE, START = "ExecCreate", "ExecStart"
STREAMS = "how the client's terminal and streams are joined to it"
SAID_TWICE = "docker-py and old clients repeat here what stands elsewhere"
ROWS = (
    Row(f"{CREATE}.User", "force", "it runs as the job's own user, or as root where its container does", "<uid>:<gid>"),
    Row(f"{CREATE}.Privileged", "deny", "a job's container has no privilege over the node"),
    *(
        Row(f"{CREATE}.{name}", "allow", STREAMS)
        for name in ("Tty", "AttachStdin", "AttachStdout", "AttachStderr", "DetachKeys")
    ),
    Row(f"{CREATE}.Cmd", "allow", "what runs inside"),
    Row(f"{CREATE}.Env", "allow", "as typed"),
    Row(f"{CREATE}.WorkingDir", "allow", "absolute, not in /proc, /sys or /dev"),
    Row(f"{CREATE}.Detach", "drop", SAID_TWICE),
    Row(f"{CREATE}.Container", "drop", SAID_TWICE),
    Row(f"{START}.Detach", "allow", STREAMS),
    Row(f"{START}.Tty", "allow", STREAMS),
    *(Row(f"{body}.ConsoleSize", "allow", "the terminal's first size") for body in (CREATE, START)),
)
OWNS = tuple(row.unit for row in ROWS)


def create(wanted: ExecCreate, own: str) -> dict[str, Any]:
    """The body of our own exec create. Raises Refused, BadRequest.

    Args:
        own: its container's user, "uid:gid".
    """
    names = identity.ROOTS if own == identity.ROOT else (own.partition(":")[0], own)
    if wanted.privileged:
        raise Refused("docker exec --privileged", "a job's container has no privilege over the node", "Leave it out.")
    if wanted.user not in (None, "", *names):
        whose = "root, as its container does" if own == identity.ROOT else f"the job's own user, {own}"
        raise Refused(f"docker exec --user {wanted.user}", f"it runs as {whose}", "Leave --user out.")
    fields: dict[str, Any] = {
        "User": own,
        "Privileged": False,
        "Tty": bool(wanted.tty),
        "AttachStdin": bool(wanted.attach_stdin),
        "AttachStdout": bool(wanted.attach_stdout),
        "AttachStderr": bool(wanted.attach_stderr),
        "Cmd": wanted.cmd or [],
        "Env": wanted.env or [],
        "DetachKeys": wanted.detach_keys or "",
        **_console(wanted.console_size),
    }
    if wanted.working_dir:
        fields["WorkingDir"] = working_directory(wanted.working_dir)
    return fields


def start(wanted: ExecStart) -> dict[str, Any]:
    """The body of our own exec start. Raises BadRequest."""
    return {"Detach": bool(wanted.detach), "Tty": bool(wanted.tty), **_console(wanted.console_size)}


def _console(size: list[int] | None) -> dict[str, list[int]]:
    """The terminal's first size, [height, width] in characters; [0, 0] is none."""
    if not size or size == [0, 0]:
        return {}
    if len(size) != 2 or not all(0 <= number < 2**16 for number in size):
        raise BadRequest("ConsoleSize", "not the height and width of a terminal")
    return {"ConsoleSize": size}

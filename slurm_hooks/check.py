# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check`: is this node set up safely? Each finding says what, why and how to mend it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from slurm_hooks import config
from slurm_hooks.engine import Engine
from slurm_hooks.errors import HooksError


@dataclass(frozen=True)
class Finding:
    """`level` is "wrong" (no promise holds) or "weak" (one of them does not)."""

    level: str
    what: str
    mend: str


def main(*, as_json: bool) -> int:
    """Print the findings; 1 where anything is wrong."""
    found = list(findings())
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            print(f"{finding.level}: {finding.what}. {finding.mend}")
        print("slurm-hooks check: nothing found" if not found else f"slurm-hooks check: {len(found)} found")
    return 1 if any(finding.level == "wrong" for finding in found) else 0


def findings() -> Iterator[Finding]:
    """Look at the node. Changes nothing."""
    try:
        settings = config.load(keep=False)
    except HooksError as error:
        yield Finding("wrong", str(error), "Mend it; until then no container starts.")
        return
    yield from _sockets(settings.docker.socket)
    try:
        info = Engine(settings.docker.socket).info()
    except HooksError as error:
        yield Finding("wrong", str(error), "Start it: systemctl start slurm-hooks-docker.")
        return
    if info.get("CgroupDriver") != "cgroupfs":
        yield Finding(
            "wrong",
            f"the cgroup driver of the jobs' dockerd is {info.get('CgroupDriver')}, which places no container in a job",
            'Set "exec-opts": ["native.cgroupdriver=cgroupfs"] in its configuration.',
        )
    if not info.get("PidsLimit", True):
        yield Finding("wrong", "dockerd sees no pids controller", "Enable it in the kernel: fork bombs are not held.")
    if not any(option.startswith("name=seccomp") for option in info.get("SecurityOptions") or []):
        yield Finding("wrong", "dockerd has no seccomp", "Use a build of dockerd and a kernel that have it.")
    if not info.get("LiveRestoreEnabled"):
        yield Finding("weak", "a restart of dockerd ends the jobs' containers", 'Set "live-restore": true.')


def _sockets(docker_socket: str) -> Iterator[Finding]:
    from slurm_hooks.broker.server import SOCKET

    if not os.path.exists(SOCKET):
        yield Finding("wrong", f"{SOCKET} is not there", "Start the broker: systemctl start slurm-hooks-broker.")
    for path in (docker_socket, "/run/docker.sock"):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        parent = os.stat(os.path.dirname(path))
        if facts.st_mode & stat.S_IWOTH and parent.st_mode & stat.S_IXOTH:
            yield Finding("wrong", f"{path} is open to everyone, who is then root", f"Run: chmod o-w {path}.")

# SPDX-License-Identifier: Apache-2.0
"""What dockerd and containerd run outside of the job's cgroup: the shims of its containers."""

from __future__ import annotations

import os

from slurm_hooks import config, jobs, linux
from slurm_hooks.escapes.left import Left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SHIM = "containerd-shim"  # the kernel keeps 15 characters of containerd-shim-runc-v2 (proc_pid_comm(5))


def noted(job: jobs.Job, run: str = config.RUN) -> dict[str, str]:
    """The job's containers that the broker noted: id → where dockerd mounts its root."""
    import json

    found = {}
    top = f"{jobs.directory(job.key, run)}/containers"
    for nonce in os.listdir(top) if os.path.isdir(top) else []:
        try:
            note = json.loads(linux.read(f"{top}/{nonce}"))
            found[str(note["id"])] = str(note.get("root", ""))
        except (OSError, ValueError, KeyError):
            pass
    found.pop("", None)  # begun, and never heard of by dockerd
    return found


def shims(ids: Iterable[str]) -> list[Left]:
    """containerd-shim processes of the job's containers: they live in containerd's cgroup, not in the job's."""
    wanted = set(ids)
    if not wanted:
        return []
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            # Root's: what another user calls so, with an id that `ps` shows to all, must not drain the node.
            if linux.read(f"/proc/{pid}/comm").rstrip("\n") != SHIM or os.stat(f"/proc/{pid}").st_uid != 0:
                continue
            line = linux.read(f"/proc/{pid}/cmdline").split("\0")
        except OSError:
            continue  # gone
        for container in wanted.intersection(line):
            found.append(Left("shim", f"pid {pid} {os.path.basename(line[0])} of {container[:12]}", "its -id"))
    return found

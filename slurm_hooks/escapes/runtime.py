# SPDX-License-Identifier: Apache-2.0
"""What dockerd and containerd have of the job's containers outside of its cgroup: shims, and containerd's tasks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from slurm_hooks import bridges, config, jobs, linux, tasks
from slurm_hooks.escapes.left import Left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Noted:
    """What the broker noted of a container."""

    root: str = ""  # where dockerd mounts its root
    shim: int = 0  # the pid of its shim since its last start; 0: not known


def noted(job: jobs.Job, run: str = config.RUN) -> dict[str, Noted]:
    """The job's containers that the broker noted, by their ids."""
    import json

    found = {}
    top = f"{jobs.directory(job.key, run)}/containers"
    for nonce in os.listdir(top) if os.path.isdir(top) else []:
        try:
            note = json.loads(linux.read(f"{top}/{nonce}"))
            found[str(note["id"])] = Noted(str(note.get("root", "")), int(note.get("shim", 0)))
        except (OSError, ValueError, KeyError):
            pass
    found.pop("", None)  # begun, and never heard of by dockerd
    return found


def shims(own: Mapping[str, Noted]) -> list[Left]:
    """containerd-shim processes of the job's containers: they live in containerd's cgroup, not in the job's."""
    return [
        Left("shim", f"pid {pid} {os.path.basename(program)} of {container[:12]}", "its -id")
        for pid, container, program in tasks.shims({container: one.shim for container, one in own.items()})
    ]


def has_networks(job: jobs.Job, run: str = config.RUN) -> bool:
    """Had the job a restricted network: by the broker's notes, or by a bridge that is there?"""
    return os.path.isdir(jobs.networks(job.key, run)) or bool(networks(job, run))


def networks(job: jobs.Job, run: str = config.RUN) -> list[Left]:
    """Bridges of the job's own networks. Two runs of a job call theirs alike, and a later one's is not this one's."""
    found = bridges.of_job(job.id)
    if not found or not jobs.holds_cgroup(job, run):
        return []
    return [Left("network", f"the bridge {name}", "its name") for name in found]


def bundles(ids: Iterable[str]) -> list[Left]:
    """What containerd keeps of a task that it could not take down."""
    return [Left("task", f"containerd's task of {task.id[:12]}", task.bundle) for task in tasks.of(ids)]

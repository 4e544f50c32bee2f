# SPDX-License-Identifier: Apache-2.0
"""`scontrol suspend` freezes a job's steps; its containers, which lie beside them, freeze and thaw with them.

    ops/suspended    in the job's record: the ids of the containers that we froze, a line each

Only those are thawed: what the user had paused before stays paused. Looked at each second, as Slurm tells nobody.
"""

from __future__ import annotations

import os

from slurm_hooks import cgroups, jobs, linux


def follow(job: jobs.Job, mount: str = cgroups.MOUNT) -> None:
    """Bring the containers of an open job to what its steps are. Raises OSError where the record cannot be written."""
    cgroup = cgroups.of(job.version, mount)
    kept = f"{jobs.directory(job.key)}/ops/suspended"
    ours = set(_lines(kept))
    if cgroup.suspended(job.cgroup):
        hierarchy = f"{mount}/freezer" if job.version == 1 else mount
        for path in cgroups.containers(hierarchy, job.cgroup):
            container = path.rpartition("/")[2]
            if container not in ours and not cgroup.frozen(path):
                ours.add(container)
                linux.replace(kept, "\n".join(sorted(ours)))  # first: a broker that dies now must find it, to thaw it
                cgroup.freeze(path, frozen=True)
    elif ours:
        for container in ours:
            cgroup.freeze(f"{job.cgroup}/{container}", frozen=False)
        os.unlink(kept)


def _lines(path: str) -> list[str]:
    try:
        return linux.read(path).split()
    except FileNotFoundError:
        return []

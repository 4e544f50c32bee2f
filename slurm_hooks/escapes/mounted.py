# SPDX-License-Identifier: Apache-2.0
"""Mounts: our stages, mounted or not, and the roots of containers."""

from __future__ import annotations

from slurm_hooks import config, jobs, linux, stages
from slurm_hooks.escapes.left import Left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def mounts(job: jobs.Job, roots: Iterable[str], run: str = config.RUN) -> list[Left]:
    """Stages of the job's bind mounts, mounted or not; `roots` of its containers that dockerd has left mounted."""
    top = f"{run}/stage/{job.key}."
    points = [mount.point for mount in linux.mounts_of("self")]
    mounted = [point for point in points if point.startswith(top)]
    own = set(roots)
    return [
        *(Left("mount", path, "the job's key") for path in mounted or stages.of_job(job.key, run)),
        *(Left("mount", point, "the root of its container, by dockerd's word") for point in points if point in own),
    ]

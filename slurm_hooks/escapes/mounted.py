# SPDX-License-Identifier: Apache-2.0
"""Mounts: our stages, mounted or not, and the roots of containers."""

from __future__ import annotations

from slurm_hooks import config, jobs, linux, stages, tasks
from slurm_hooks.escapes.left import Left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def mounts(job: jobs.Job, roots: Iterable[str], run: str = config.RUN) -> list[Left]:
    """Stages of the job's bind mounts, mounted or not; `roots` of its containers that dockerd has left mounted."""
    top = f"{run}/stage/{job.key}."
    staged = stages.of_job(job.key, run)  # without its directory there is no mount; and the table grows with the node
    points = [mount.point for mount in linux.mounts_of("self")] if staged else []
    mounted = [point for point in points if point.startswith(top)]
    return [
        *(Left("mount", path, "the job's key") for path in mounted or staged),
        *(Left("mount", root, "the root of its container, by dockerd's word")
          for root in roots if tasks.is_mounted(root)),
    ]  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Mounts: our stages, mounted or not."""

from __future__ import annotations

from slurm_hooks import config, jobs, linux, stages
from slurm_hooks.escapes.left import Left


def mounts(job: jobs.Job, run: str = config.RUN) -> list[Left]:
    """Stages of the job's bind mounts, mounted or not."""
    top = f"{run}/stage/{job.key}."
    mounted = [mount.point for mount in linux.mounts_of("self") if mount.point.startswith(top)]
    return [Left("mount", path, "the job's key") for path in mounted or stages.of_job(job.key, run)]

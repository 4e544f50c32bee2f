# SPDX-License-Identifier: Apache-2.0
"""Processes in the job's cgroup, and the cgroup itself."""

from __future__ import annotations

from slurm_hooks import cgroups, config, jobs, linux
from slurm_hooks.escapes.left import Left
from slurm_hooks.escapes.runtime import noted
from slurm_hooks.escapes.words import described, ourselves


def places(job: jobs.Job, run: str = config.RUN) -> list[str]:
    """The cgroups that are this run's own: the job's, or those of its noted containers where a later run is there."""
    if jobs.holds_cgroup(job, run):
        return [job.cgroup]
    return [f"{job.cgroup}/{container}" for container in noted(job, run)]


def processes(job: jobs.Job, run: str = config.RUN) -> list[Left]:
    """Processes in the job's cgroup, in any hierarchy."""
    cgroup = cgroups.of(job.version)
    found = []
    for path in places(job, run):
        pids = cgroup.processes(path)
        innocent = ourselves() if pids else set()
        for pid in pids:
            if pid not in innocent and (words := described(pid)):
                found.append(Left("process", words, f"in the job's cgroup {path}"))
    return found


def directories(job: jobs.Job, run: str = config.RUN) -> list[Left]:
    """The job's cgroup, unless Slurm itself still needs it (RunInJob: it runs us there)."""
    cgroup = cgroups.of(job.version)
    if is_inside(job, cgroup):
        return []
    return [Left("cgroup", path, "registered by the Prolog") for path in places(job, run) if cgroup.exists(path)]


def is_inside(job: jobs.Job, cgroup: cgroups.Hierarchy) -> bool:
    """Do we run inside the job's cgroup (PrologFlags=RunInJob)?"""
    own = cgroup.identity(linux.cgroup_lines(linux.read("/proc/self/cgroup")))
    return own.startswith(f"{job.cgroup}/")

# SPDX-License-Identifier: Apache-2.0
"""Processes in the job's cgroup, and the cgroup itself."""

from __future__ import annotations

from slurm_hooks import cgroups, jobs, linux
from slurm_hooks.escapes.left import Left
from slurm_hooks.escapes.words import described, ourselves


def processes(job: jobs.Job) -> list[Left]:
    """Processes in the job's cgroup, in any hierarchy."""
    innocent = ourselves()
    found = []
    for pid in cgroups.of(job.version).processes(job.cgroup):
        if pid not in innocent and (words := described(pid)):
            found.append(Left("process", words, f"in the job's cgroup {job.cgroup}"))
    return found


def directories(job: jobs.Job) -> list[Left]:
    """The job's cgroup, unless Slurm itself still needs it (RunInJob: it runs us there)."""
    cgroup = cgroups.of(job.version)
    if is_inside(job, cgroup) or not cgroup.exists(job.cgroup):
        return []
    return [Left("cgroup", job.cgroup, "registered by the Prolog")]


def is_inside(job: jobs.Job, cgroup: cgroups.Hierarchy) -> bool:
    """Do we run inside the job's cgroup (PrologFlags=RunInJob)?"""
    own = cgroup.identity(linux.cgroup_lines(linux.read("/proc/self/cgroup")))
    return own.startswith(f"{job.cgroup}/")

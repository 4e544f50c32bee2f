# SPDX-License-Identifier: Apache-2.0
"""Slurm's Prolog, as root, before the job's first process: find the job's cgroup, bound its pids, open the job.

Fail closed for containers, open for jobs: where anything of ours is broken the
job gets no record, so no container starts in it, and the Prolog still returns
0. A Prolog that fails would drain the node and hold the job (slurm.conf(5)).
"""

from __future__ import annotations

import os
import sys

from slurm_hooks import cgroups, config, events, jobs, linux
from slurm_hooks.cgroups import limits, slurm
from slurm_hooks.errors import BadConfig, HooksError, unforeseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run as Slurm runs it; `environ` is what slurmd hands over. Always 0 (see above)."""
    try:
        job = opened(environ)
    except HooksError as error:
        complain(environ, str(error))
    except Exception as error:  # our own bug: it is told in our log, never in a job
        complain(environ, f"a bug of slurm-hooks: {unforeseen(error)}")
    else:
        print(f"slurm-hooks: job {job.id}: {job.cgroup}: pids.max {job.pids}, in force {job.effective}")
    return 0


def complain(environ: Mapping[str, str], text: str) -> None:
    """One line for slurmd's log and one event."""
    number = environ.get("SLURM_JOB_ID", "")
    known = number.isascii() and number.isdigit() and len(number) <= 10
    events.record("prolog-failed", job=int(number) if known else 0, why=text)
    print(f"slurm-hooks: no containers in job {number[:20]!r}: {text}", file=sys.stderr)


def opened(environ: Mapping[str, str]) -> jobs.Job:
    """Bound the job and open its record. Raises HooksError."""
    broken: BadConfig | None = None
    try:
        settings = config.for_hooks()
    except BadConfig as error:
        broken, settings = error, config.last_good() or config.defaults()
    place = slurm.place_of(environ)
    job = jobs.from_environment(environ, place.version, place.root, place.path)
    job.figure, job.pids, job.effective, why = bounded(cgroups.of(place.version), place, settings, job.partition)
    if broken:
        raise broken  # the limit of the last good configuration holds; containers stay off
    given: dict[str, Any] = {}
    if "SLURM_JOB_GPUS" in environ:
        from slurm_hooks import gres

        given["gpus"] = gres.note(job, environ, settings)
    jobs.create(job)
    events.record(
        "prolog", job=job.id, restart=job.restart, user=job.user, uid=job.uid, cgroup=job.cgroup,
        version=job.version, pids=job.pids, effective=job.effective, why=why, **given,
    )  # fmt: skip
    return job


def bounded(
    cgroup: cgroups.Hierarchy, place: slurm.Place, settings: dict[str, Any], partition: str
) -> tuple[int, int, int, str]:
    """Make the job's cgroup and set its pids.max. Raises HooksError.

    Returns:
        The figure for the job's own processes, pids.max of its cgroup, the limit in force there, and why.
    """
    limit, reserve, why = limits.chosen(settings["job"], settings["partition"], partition)
    cgroup.make(place.root, place.path)
    ceiling = int(linux.read("/proc/sys/kernel/pid_max"))
    parent = place.path.rpartition("/")[0]
    levels = cgroup.pids_max(parent)
    # After an upgrade the copy of the settings may be older than the table, until the broker has made it anew.
    if kept := settings.get("node", {}).get("reserve", 0):
        most = limits.of_all_jobs(ceiling, int(linux.read("/proc/sys/kernel/threads-max")), kept)
        if (place.root, most) not in levels:  # systemd may have written it anew (TasksMax=)
            cgroup.set_pids_max(place.root, most)
            levels = cgroup.pids_max(parent)
    above, whose = limits.lowest(levels, ceiling)
    reserve = reserve if place.version == 2 else 0  # on v1 slurmstepd stays outside of our hierarchy
    figure, pids, why = limits.settled(limit, reserve, why, above, whose)
    cgroup.set_pids_max(place.path, pids)
    return figure, pids, min(pids, above), why

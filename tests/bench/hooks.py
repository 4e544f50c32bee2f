# SPDX-License-Identifier: Apache-2.0
"""Each hook's wall time, as slurmd would start it, against an interpreter that does nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench.figures import Bar, Figure
from tests.cluster.slurm import Cluster, Job

TIMER = "/usr/bin/python3 -I /src/tests/bench/timer.py"
BARE = {"name": "bare", "argv": ["/usr/bin/python3", "-I", "-c", "pass"]}
PROLOG, EPILOG = "/etc/slurm/prolog.d/50-slurm-hooks", "/etc/slurm/epilog.d/50-slurm-hooks"
TASK_PROLOG, TASK_EPILOG = "/etc/slurm/task_prolog.sh", "/etc/slurm/task_epilog.sh"
# Numbers of jobs that Slurm does not know: our hooks ask nobody about a healthy job. Others in each minute, since a
# bench that was broken off has left tombstones.
FIRST = 900_000 + 1_000_000 * (int(time.time()) // 60 % 60)
TWICE = Bar(ratio=2.0)

Times = dict[str, list[float]]
Step = dict[str, Any]


def environment(job: str, node: str) -> dict[str, str]:
    """What slurmd hands to a Prolog or an Epilog of ann's."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SLURM_CLUSTER_NAME": "lab",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "SLURMD_NODENAME": node,
        "SLURM_JOB_ID": job,
        "SLURM_JOB_UID": "1001",
        "SLURM_JOB_GID": "1001",
        "SLURM_JOB_USER": "ann",
        "SLURM_JOB_PARTITION": "main",
        "SLURM_JOB_RESTART_COUNT": "0",
    }


def timed(cluster: Cluster, host: str, rounds: int, *steps: Step, user: str = "root") -> Times:
    """Run the timer on a host; seconds by the names of the steps."""
    plan = json.dumps({"rounds": rounds, "steps": steps})
    found: Times = json.loads(cluster.must(host, TIMER, user=user, stdin=plan, timeout=900))
    return found


def timed_in(job: Job, rounds: int, *steps: Step) -> Times:
    """Run the timer in a step of a running job, as its user."""
    plan = json.dumps({"rounds": rounds, "steps": steps})
    job.cluster.must(job.node, "cat > plan.json", user=job.user, stdin=plan)
    return in_step(job, f"{TIMER} < plan.json")


def in_step(job: Job, command: str) -> Times:
    """Run a shell command in a step of a running job, as its user; the JSON that it prints."""
    cluster = job.cluster
    cluster.must(job.node, "cat > step.sh", user=job.user, stdin=command)
    step = f"srun --quiet --overlap --jobid {job.id} sh step.sh"
    found: Times = json.loads(cluster.must(cluster.lab.controller, step, user=job.user, timeout=900))
    return found


@contextmanager
def running_job(cluster: Cluster, options: str = "--mem=800") -> Iterator[Job]:
    """A job of ann's on an idle node that does nothing; afterwards the node is idle again."""
    job = cluster.sbatch("echo started; sleep 3600", options=options)
    try:
        job.wait_for_output("started")
        yield job
    finally:
        job.cancel()
        job.wait()
        cluster.wait_idle(job.node)


def figure(name: str, times: Times, ours: str, theirs: str, bar: Bar | None = None) -> Figure:
    """Two of the timer's columns."""
    return Figure(name, tuple(times[ours]), tuple(times[theirs]), bar)


def hooks(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """prolog, epilog of a job without containers, task-prolog. The first two are one after the other, as in life."""
    environ = environment(str(FIRST // 1000) + "{round}", cluster.node)
    prolog = {"name": "prolog", "argv": [PROLOG], "environ": environ}
    epilog = {"name": "epilog", "argv": [EPILOG], "environ": environ}
    bare = BARE | {"environ": environ}
    times = timed(cluster, cluster.node, rounds, bare | {"name": "bare 1"}, prolog, bare | {"name": "bare 2"}, epilog)
    yield figure("prolog / python3 -I", times, "prolog", "bare 1", TWICE)
    yield figure("epilog without containers / python3 -I", times, "epilog", "bare 2", TWICE)
    with running_job(cluster) as job:
        tasks = {"name": "task-prolog", "argv": [TASK_PROLOG]}, {"name": "task-epilog", "argv": [TASK_EPILOG]}
        times = timed_in(job, rounds, BARE, *tasks)
    yield figure("task-prolog / python3 -I", times, "task-prolog", "bare", TWICE)
    yield figure("task-epilog without containers / python3 -I", times, "task-epilog", "bare", TWICE)

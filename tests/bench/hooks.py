# SPDX-License-Identifier: Apache-2.0
"""Each hook's wall time, as slurmd would start it, against an interpreter that does nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.bench.figures import Bar, Figure
from tests.cluster.slurm import Cluster

TIMER = "/usr/bin/python3 -I /src/tests/bench/timer.py"
BARE = {"name": "bare", "argv": ["/usr/bin/python3", "-I", "-c", "pass"]}
PROLOG, EPILOG = "/etc/slurm/prolog.d/50-slurm-hooks", "/etc/slurm/epilog.d/50-slurm-hooks"
TASK_PROLOG = "/etc/slurm/task_prolog.sh"
FIRST = 900_000  # numbers of jobs that Slurm does not know: our hooks ask nobody about a healthy job
TWICE = Bar(ratio=2.0)

Times = dict[str, list[float]]


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


def timed(cluster: Cluster, node: str, rounds: int, *steps: dict[str, Any], user: str = "") -> Times:
    """Run the timer on a node as root, or in a job of `user`; seconds by the names of the steps."""
    plan = json.dumps({"rounds": rounds, "steps": steps})
    if not user:
        said = cluster.must(node, TIMER, stdin=plan, timeout=600)
    else:
        done = cluster.srun(f"{TIMER} <<'EOF'\n{plan}\nEOF", user=user, node=node, options="--mem=800", timeout=600)
        assert done.status == 0, done
        said = done.out.splitlines()[-1]
    found: Times = json.loads(said)
    return found


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
    times = timed(cluster, cluster.node, rounds, BARE, {"name": "task-prolog", "argv": [TASK_PROLOG]}, user="ann")
    yield figure("task-prolog / python3 -I", times, "task-prolog", "bare", TWICE)
    cluster.wait_idle(cluster.node)

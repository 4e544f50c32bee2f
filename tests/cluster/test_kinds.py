# SPDX-License-Identifier: Apache-2.0
"""Kinds of jobs, and of ends: arrays, heterogeneous jobs, one that is cancelled in its Prolog or loses its slurmstepd.

Others have tests of their own: requeue (test_identity, test_sweep), suspend (test_suspend), a slurmd that dies
(tests/faults).
"""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster, Job

pytestmark = pytest.mark.anywhere

SMALL = "-n1 --mem=200"


def running(cluster: Cluster, node: str) -> set[str]:
    """The jobs of the containers that run, by number."""
    listed = cluster.docker(node, "ps --filter label=slurm-hooks.job --format '{{.Label \"slurm-hooks.job\"}}'").out
    return {key.split("-")[0] for key in listed.split()}


def numbers(cluster: Cluster, job: Job) -> dict[str, Job]:
    """The jobs behind an array or a heterogeneous job, by task or component: each has a number of its own."""
    listed = cluster.must(cluster.lab.controller, f"squeue -h -r -j {job.id} -o '%i %A'")
    rows = dict(line.split() for line in listed.splitlines())
    return {
        name.replace("+", "_").partition("_")[2]: Job(cluster, int(number), job.node, job.user)
        for name, number in rows.items()
    }


def test_the_end_of_a_task_of_an_array_does_not_touch_the_others(cluster: Cluster, node: str) -> None:
    script = """t=$SLURM_ARRAY_TASK_ID
    docker run --name one -v $HOME:/w img sh -c "echo started; until [ -e /w/go.$t ]; do sleep 0.1; done; echo of $t"
    rm go.$t; docker ps -a --format '{{.Names}}'"""
    array = cluster.sbatch(script, options=f"--array=1-2 {SMALL} -o /home/ann/array-%A.%a")
    tasks = {task: Job(cluster, array.id, node, "ann", f"/home/ann/array-{array.id}.{task}") for task in "12"}
    for one in tasks.values():
        one.wait_for_output("started")
    # What a container prints may come before dockerd says that it runs.
    both = (
        "[ $(docker -H unix:///run/slurm-hooks-docker/docker.sock ps -q --filter label=slurm-hooks.job | wc -l) = 2 ]"
    )
    cluster.wait(node, both, "two containers")
    jobs = numbers(cluster, array)
    assert running(cluster, node) == {str(job.id) for job in jobs.values()} and len(jobs) == 2
    cluster.must(node, "touch go.2", user="ann")
    assert jobs["2"].wait()["verdict"] == "clean"
    assert running(cluster, node) == {str(jobs["1"].id)}
    assert jobs["2"].id == array.id  # the last task has the array's own number, which for squeue is the whole array
    assert cluster.sh(node, f"slurm-hooks epilog {array.id}").status == 0
    cluster.must(node, "touch go.1", user="ann")
    assert jobs["1"].wait()["verdict"] == "clean"
    for task, one in tasks.items():
        assert f"of {task}\none\nslurm-hooks: job {jobs[task].id} ran 1 container, none failed:" in one.output, (
            one.output
        )


def test_each_component_of_a_heterogeneous_job_has_its_own(cluster: Cluster, node: str) -> None:
    if len(cluster.lab.nodes) < 2:
        pytest.skip("Slurm 24.11 gives no two components the same node, and this lab has one")
    nodes = dict(zip("01", cluster.lab.nodes, strict=False))
    script = """docker run -d --name one img sleep 600
    srun --het-group=1 sh -c 'docker run -d --name one img sleep 600; docker ps --format "{{.Names}} of 1"'
    docker ps --format '{{.Names}} of 0'; echo started; sleep 600"""
    leader = cluster.sbatch(script, options=f"{SMALL} : {SMALL} -w {nodes['1']}")
    leader.wait_for_output("started")
    components = numbers(cluster, leader)
    assert {number: running(cluster, on) for number, on in nodes.items()} == {
        number: {str(job.id)} for number, job in components.items()
    }
    assert [leader.output.count(f"one of {component}") for component in "01"] == [1, 1], leader.output
    leader.cancel()
    for number, job in components.items():
        assert Job(cluster, job.id, nodes[number], "ann").wait()["verdict"] == "clean"
    cluster.wait_idle(nodes["1"])
    assert cluster.left_on(nodes["1"]) == []


@pytest.mark.parametrize("when", ["60-before-ours", "40-after-ours"])
def test_a_job_may_be_cancelled_while_its_prolog_is_at_work(cluster: Cluster, node: str, when: str) -> None:
    script, mark = f"/etc/slurm/prolog.d/{when}", "/run/lab-prolog"
    body = f"#!/bin/sh\necho $SLURM_JOB_ID > {mark}\nwhile [ -e {mark} ]; do sleep 0.1; done\n"
    cluster.must(node, f"cat > {script}; chmod 755 {script}", stdin=body)
    try:
        job = cluster.sbatch("docker run -d img sleep 600; sleep 600", options=SMALL)
        cluster.wait(node, f"[ -s {mark} ]", "the Prolog")
        job.cancel()
        cluster.wait(cluster.lab.controller, f'[ -z "$(squeue -h -j {job.id} -t R,CF)" ]', "its cancellation")
    finally:
        cluster.must(node, f"rm -f {script} {mark}")
    assert job.wait()["verdict"] == "clean"
    cluster.wait_idle(node)
    assert cluster.must(node, "ls /run/slurm-hooks/jobs") == ""
    assert cluster.drain_reason(node) == ""


def test_a_job_that_lost_its_slurmstepds_leaves_neither_tasks_nor_step_directories(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d -v $HOME:/w img sleep 600; echo started; sleep 601", options=SMALL)
    job.wait_for_output("started")
    scope = f"/sys/fs/cgroup/{'freezer' if cluster.version == 1 else ''}{job.cgroup}"
    procs = f"find {scope} -name cgroup.procs -exec cat {{}} +"
    stepds = f"for pid in $({procs}); do [ $(cat /proc/$pid/comm) = slurmstepd ] && echo $pid; done; true"
    assert len(cluster.must(node, stepds).split()) == 2  # the batch step's and the extern step's
    cluster.must(node, f"kill -KILL $({stepds})")
    cluster.must(node, f"pgrep -u ann -fx 'sleep 601' && ls -d {scope}/step_*")
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    cluster.must(node, f"! pgrep -u ann -fx 'sleep 601' && ! ls -d {scope}")

# SPDX-License-Identifier: Apache-2.0
"""Promise 6: broker, dockerd and slurmd may be killed at any moment. No container outlives its job by it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.unit.test_metrics import figures

CONTAINERS = "for i in 1 2; do docker run -d --name n$i -v $HOME:/w img sleep 600; done; echo begun"


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """An idle node; what a failed test left broken is mended."""
    node = cluster.node
    cluster.wait_idle(node)
    yield node
    cluster.cancel_all()
    for daemon in ("dockerd", "broker", "slurmd"):
        cluster.service(node, "start", daemon)
    if cluster.drain_reason(node):
        cluster.wait(cluster.lab.controller, f'[ -z "$(squeue -h -w {node})" ]', "the end of all jobs")
        cluster.sh(node, "for one in $(ls /run/slurm-hooks/jobs | cut -d- -f1); do slurm-hooks epilog $one; done")
        cluster.resume(node)
    cluster.wait_idle(node)
    assert cluster.left_on(node) == []


def broker_answers(cluster: Cluster) -> None:
    """Until a connection to the broker is taken."""
    script = "import socket; socket.socket(socket.AF_UNIX).connect('/run/slurm-hooks/docker.sock')"
    cluster.wait(cluster.node, f'/usr/bin/python3 -ISc "{script}" 2>/dev/null', "the broker")


@pytest.mark.anywhere
def test_the_broker_may_be_killed_at_any_moment_of_a_launch(cluster: Cluster, node: str) -> None:
    script = """rm -f stop; until [ -e stop ]; do docker run --rm -v $HOME:/w img true; done
    until docker run --rm img echo works again; do sleep 0.1; done; rm stop"""
    job = cluster.sbatch(f"echo begun; {script}")
    job.wait_for_output("begun")
    for pause in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8):  # more often than systemd restarts a unit by default
        time.sleep(pause)
        cluster.service(node, "kill", "broker")
        broker_answers(cluster)
    cluster.must(node, "touch stop", user="ann")
    job.wait_for_output("works again")
    assert job.wait()["verdict"] == "clean"


@pytest.mark.anywhere
def test_containers_outlive_the_broker_and_docker_goes_on(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"""{CONTAINERS}; until [ -e go ]; do sleep 0.1; done; rm go
    docker exec n1 echo still here; docker ps --format '{{{{.Names}}}}'; docker rm -f n2; echo looked; sleep 600""")
    job.wait_for_output("begun")
    cluster.service(node, "kill", "broker")
    broker_answers(cluster)
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("looked")
    assert "still here" in job.output and "n2\nn1\n" in job.output, job.output
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_job_may_end_while_the_broker_is_down(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"{CONTAINERS}; sleep 600")
    job.wait_for_output("begun")
    cluster.service(node, "stop", "broker")
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_job_may_end_while_dockerd_restarts(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"{CONTAINERS}; sleep 600")
    job.wait_for_output("begun")
    cluster.service(node, "kill", "dockerd")
    job.cancel()
    cluster.service(node, "start", "dockerd")
    assert job.wait()["verdict"] == "clean"


@pytest.mark.anywhere
def test_containers_outlive_dockerd_and_docker_goes_on(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(
        f"{CONTAINERS}; until [ -e go ]; do sleep 0.1; done; rm go; docker exec n1 echo still here; echo over"
    )
    job.wait_for_output("begun")
    cluster.service(node, "kill", "dockerd")
    cluster.service(node, "start", "dockerd")
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert "still here" in job.output, job.output
    assert job.wait()["verdict"] == "clean"


@pytest.mark.anywhere
def test_a_node_whose_dockerd_stays_away_drains_and_is_clean_when_it_is_back(cluster: Cluster, node: str) -> None:
    before = figures(cluster.must(node, "slurm-hooks metrics"))
    job = cluster.sbatch(f"{CONTAINERS}; sleep 600")
    job.wait_for_output("begun")
    cluster.service(node, "stop", "dockerd")
    job.cancel()
    verdict = job.wait()["verdict"]
    assert f"job {job.id} (ann)" in verdict and "dockerd" in verdict, verdict
    cluster.wait(cluster.lab.controller, f"sinfo -h -n {node} -o %T | grep -q drain", "the node drained")
    assert f"job {job.id} (ann)" in cluster.drain_reason(node) and "dockerd" in cluster.drain_reason(node)
    cluster.must(node, "! pgrep -u ann -fx 'sleep 600'")  # by cgroup they were ended all the same
    held = figures(cluster.must(node, "slurm-hooks metrics"))
    assert (held["node_held"], held['jobs{state="closing"}'], held["dockerd_up"]) == (1, 1, 0)
    assert held['drains_total{reason="dockerd"}'] - before['drains_total{reason="dockerd"}'] == 1
    assert "Not clean: job" in cluster.must(node, f"slurm-hooks report {job.id} --html")
    cluster.service(node, "start", "dockerd")
    again = cluster.sh(node, f"slurm-hooks epilog {job.id}")
    assert again.status == 0, again
    cluster.wait(node, "slurm-hooks metrics | grep -q '^slurm_hooks_dockerd_up 1'", "the broker's word of dockerd")
    assert figures(cluster.must(node, "slurm-hooks metrics"))["node_held"] == 0
    cluster.resume(node)


@pytest.mark.anywhere
def test_slurmd_may_be_killed_while_a_job_runs(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"{CONTAINERS}; until [ -e go ]; do sleep 0.1; done; rm go; docker ps -q | wc -l; echo over")
    job.wait_for_output("begun")
    cluster.service(node, "kill", "slurmd")
    cluster.service(node, "start", "slurmd")
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert "\n2\nover" in job.output
    assert job.wait()["verdict"] == "clean"


def test_a_job_may_be_cancelled_at_any_moment_of_a_launch(cluster: Cluster, node: str) -> None:
    moments = random.Random(4711)
    jobs: list[Job] = [
        cluster.sbatch(
            "echo begun; for i in $(seq 50); do docker run --rm -v $HOME:/w img true; done", options="-n1 --mem=150"
        )
        for _ in range(10)
    ]
    for job in jobs:
        job.wait_for_output("begun")
        time.sleep(moments.uniform(0, 1.5))
        job.cancel()
    assert [job.wait()["verdict"] for job in jobs] == ["clean"] * len(jobs)

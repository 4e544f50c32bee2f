# SPDX-License-Identifier: Apache-2.0
"""A job of two nodes: each has the containers that were started on it, and each has its Epilog."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.cluster.test_kinds import running

STARTED = """srun docker run -d --name one img sleep 600 >/dev/null
srun docker ps --format '{{.Names}} {{.State}}'; echo started; sleep 600"""
# Two steps of one job, one on each node: what the one's container prints the other's reads.
STREAM = """srun --overlap -N1 -n1 -w FIRST sh -c 'docker run --rm img seq 200000 | busybox nc -l -p 7000' &
srun --overlap -N1 -n1 -w SECOND bash -c '
until cat </dev/tcp/FIRST/7000; do sleep 0.2; done 2>/dev/null | docker run -i --rm img sha256sum'; wait"""


@pytest.fixture
def nodes(cluster: Cluster, node: str) -> Iterator[tuple[str, str]]:
    """Two that are idle before the test, and on which nothing is left after it."""
    if len(cluster.lab.nodes) < 2:
        pytest.skip("a lab of one node: --lab compose, --lab pair")
    second = cluster.lab.nodes[1]
    cluster.wait_idle(second)
    yield node, second
    cluster.wait_idle(second)
    assert cluster.left_on(second) == []


def ended_clean(job: Job, nodes: tuple[str, str]) -> None:
    """Each node's Epilog."""
    for on in nodes:
        assert Job(job.cluster, job.id, on, job.user).wait()["verdict"] == "clean"


def test_each_node_of_a_job_has_its_containers_and_ends_them(cluster: Cluster, nodes: tuple[str, str]) -> None:
    job = cluster.sbatch(STARTED, options="-N2")
    job.wait_for_output("started")
    assert job.output.count("one running\n") == 2, job.output  # each broker tells of its node's alone
    assert [running(cluster, on) for on in nodes] == [{str(job.id)}] * 2
    job.cancel()
    ended_clean(job, nodes)


def test_a_job_joins_a_container_here_and_one_there(cluster: Cluster, nodes: tuple[str, str]) -> None:
    first, second = nodes
    job = cluster.run(STREAM.replace("FIRST", first).replace("SECOND", second), options="-N2")
    assert cluster.must(first, "seq 200000 | sha256sum").split()[0] in job.output, job.output
    ended_clean(job, nodes)

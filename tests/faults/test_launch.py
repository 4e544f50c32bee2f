# SPDX-License-Identifier: Apache-2.0
"""The broker killed between note, create, its answer, start and read-back: nothing stays that nobody knows of.

The next broker puts it right while the job runs; without one, the Epilog does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.faults.gate import Gate, gate

pytestmark = pytest.mark.anywhere

SCRIPT = """rm -f go; docker run -d --name first img sleep 600; echo broken off
until [ -e go ]; do sleep 0.1; done; rm go
docker ps -a --format 'sees {{.Names}}'; docker run --rm --name first img echo the name is free; echo over; sleep 600"""


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """An idle node, clean afterwards."""
    node = cluster.node
    cluster.wait_idle(node)
    yield node
    cluster.cancel_all()
    cluster.wait_idle(node)
    assert cluster.left_on(node) == []


def containers(cluster: Cluster, job: Job) -> str:
    """Shell: the job's containers in dockerd, and its notes, a line each."""
    return (
        "{ docker -H unix:///run/slurm-hooks-docker/docker.sock ps -aq --filter label=slurm-hooks.job; "
        f"ls /run/slurm-hooks/jobs/{job.id}-*/containers; }}"
    )


def killed_at(cluster: Cluster, at: Gate) -> Job:
    """A job whose `docker run` is held at the gate when the broker is killed."""
    job = cluster.sbatch(SCRIPT)
    at.wait_until_held()
    cluster.service(cluster.node, "kill", "broker")
    job.wait_for_output("broken off")
    return job


def goes_on(cluster: Cluster, job: Job) -> None:
    """The job sees nothing of what was broken off, may use the name again, and ends clean."""
    cluster.must(cluster.node, "touch go", user="ann")  # in one step: the job takes it away at once
    job.wait_for_output("over")
    assert "the name is free" in job.output and "sees first" not in job.output, job.output
    job.cancel()
    assert job.wait()["verdict"] == "clean"


@pytest.mark.parametrize("when", ["asked", "answered"])
def test_a_create_that_was_broken_off_is_undone_by_the_next_broker(cluster: Cluster, node: str, when: str) -> None:
    with gate(cluster, when, "/containers/create") as at:
        job = killed_at(cluster, at)
        at.open()
        cluster.wait(node, f'[ -z "$({containers(cluster, job)})" ]', "the orphan's end")
        assert job.events("orphan")
    goes_on(cluster, job)


def test_a_create_that_was_broken_off_is_found_by_the_epilog(cluster: Cluster, node: str) -> None:
    with gate(cluster, "asked", "/containers/create") as at:
        job = cluster.sbatch(SCRIPT)
        at.wait_until_held()
        cluster.service(node, "stop", "broker")
        at.open()
        cluster.wait(node, f"[ $({containers(cluster, job)} | wc -l) = 2 ]", "the container, beside its note")
        job.cancel()
        assert job.wait()["verdict"] == "clean"


def test_a_container_that_was_not_read_back_is_ended_by_the_next_broker(cluster: Cluster, node: str) -> None:
    with gate(cluster, "answered", "/start") as at:
        job = killed_at(cluster, at)
        cluster.wait(node, f"slurm-hooks report --json {job.id} | grep -q 'before it was read back'", "its end")
        cluster.must(node, "! pgrep -u ann -fx 'sleep 600'")
        assert job.events("end")[-1]["exit"] == 137
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_create_that_dockerd_broke_off_is_undone_too(cluster: Cluster, node: str) -> None:
    with gate(cluster, "answered", "/containers/create") as at:
        job = cluster.sbatch(SCRIPT)
        at.wait_until_held()
        cluster.must(node, "kill -9 $(cat /run/lab-gate.pid)")  # to the broker that is dockerd's end
        job.wait_for_output("broken off")
        note = f"/run/slurm-hooks/jobs/{job.id}-*/containers/*"
        cluster.must(node, f"grep -q '\"lost\": true' {note}")
    cluster.wait(node, f'[ -z "$({containers(cluster, job)})" ]', "the orphan's end")
    goes_on(cluster, job)


def test_a_second_start_of_a_running_container_does_not_make_it_one_that_nobody_has_judged(
    cluster: Cluster, node: str
) -> None:
    script = "docker run -d --name first img sleep 600; docker start first; docker start first; echo started"
    job = cluster.sbatch(f"{script}; sleep 600")
    job.wait_for_output("started")
    cluster.service(node, "kill", "broker")
    cluster.wait(node, "[ $(grep -c broker-start /var/log/slurm-hooks/events.jsonl) -ge 2 ]", "the next broker")
    assert '"verified": true' in cluster.must(node, f"cat /run/slurm-hooks/jobs/{job.id}-*/containers/*")
    cluster.must(node, "pgrep -u ann -fx 'sleep 600'")
    assert not job.events("differs")
    job.cancel()
    assert job.wait()["verdict"] == "clean"

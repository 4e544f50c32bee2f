# SPDX-License-Identifier: Apache-2.0
"""The broker's unit: how little it may, how it is replaced, and what ends with it."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster

UNIT = "slurm-hooks-broker"
# Line by line, a while apart, from a container that the job is attached to all the time.
ATTACHED = """rm -f go; docker run --rm -v $PWD:/w img sh -c 'echo begun; until [ -e /w/go ]; do sleep 0.1; done
for i in 1 2 3; do echo line $i; done; exit 7'; echo "status $?"; rm -f go
docker run --rm img echo served again"""


@pytest.fixture
def systemd(cluster: Cluster) -> None:
    """Skips where the node has none."""
    if not cluster.has_systemd:
        pytest.skip("no systemd on this lab's nodes: the unit is not what runs the broker there")


def main_pid(cluster: Cluster) -> str:
    return cluster.must(cluster.node, f"systemctl show -P MainPID {UNIT}").strip()


@pytest.mark.usefixtures("systemd")
def test_the_unit_may_little(cluster: Cluster) -> None:
    said = cluster.must(cluster.node, f"systemd-analyze security --no-pager {UNIT}").splitlines()[-1]
    level = float(said.split(": ")[1].split()[0])  # → Overall exposure level for …: 2.8 OK :-)
    assert level <= 3.0, said


@pytest.mark.usefixtures("systemd")
def test_an_attached_run_survives_an_upgrade_of_the_broker(cluster: Cluster, node: str) -> None:
    before = main_pid(cluster)
    job = cluster.sbatch(ATTACHED)
    job.wait_for_output("begun")
    cluster.must(node, f"systemctl reload {UNIT}")
    cluster.wait(node, f"grep -q broker-leaves.*{before} /var/log/slurm-hooks/events.jsonl", "the new broker")
    after = main_pid(cluster)
    assert after != before
    cluster.must(node, f"kill -0 {before}")  # the old one has a stream to serve
    cluster.must(node, "touch go", user="ann")
    job.wait()
    expected = "begun\nline 1\nline 2\nline 3\nstatus 7\nserved again"
    assert expected in job.output, job.output
    cluster.wait(node, f"! kill -0 {before} 2>/dev/null", "the old broker's end")
    assert main_pid(cluster) == after
    cluster.must(node, f"systemctl is-active {UNIT} && [ $(pgrep -fc 'slurm-hooks broker$') = 1 ]")


@pytest.mark.anywhere
def test_the_brokers_death_ends_attached_clients_and_no_container(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(
        """docker run --name kept img sh -c 'echo begun; exec sleep 600'; echo "client gone: $?"
    until docker ps --format '{{.Names}} {{.State}}'; do sleep 0.1; done; echo over; sleep 600"""
    )
    job.wait_for_output("begun")
    cluster.service(node, "kill", "broker")
    job.wait_for_output("over")
    assert "client gone: 125" in job.output or "client gone: 1" in job.output, job.output
    assert "kept running" in job.output, job.output
    job.cancel()
    assert job.wait()["verdict"] == "clean"

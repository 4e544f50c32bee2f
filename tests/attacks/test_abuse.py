# SPDX-License-Identifier: Apache-2.0
"""What one job's loads on the broker do to another's: nothing fails, nothing leaks. How fast it stays: `make abuse`."""

from __future__ import annotations

import pytest

from tests.abuse.loads import (
    CONNECTS_AND_LEAVES,
    HALF_SENT,
    LOADS,
    MOST_MEMORY,
    SILENT,
    Load,
    beside,
    descriptors,
    loaded,
    memory,
    settled,
)
from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere

AT_EVERYBODYS = next(load for load in LOADS if load.socket and not load.outside)


@pytest.mark.parametrize("load", [CONNECTS_AND_LEAVES, HALF_SENT, AT_EVERYBODYS], ids=str)
def test_docker_goes_on_in_another_job_beside(cluster: Cluster, node: str, load: Load) -> None:
    seen = beside(cluster, load, rounds=2)
    assert seen.failed == []
    assert seen.memory < MOST_MEMORY


def test_two_thousand_silent_connections_leave_nothing(cluster: Cluster, node: str) -> None:
    before = descriptors(cluster)
    with loaded(cluster, SILENT):
        pass
    assert settled(cluster, before) <= before
    assert memory(cluster) < MOST_MEMORY


def test_ten_thousand_requests_on_one_connection_leave_nothing(cluster: Cluster, node: str) -> None:
    before = descriptors(cluster)
    script = """import http.client, socket
one = http.client.HTTPConnection("docker")
one.sock = socket.socket(socket.AF_UNIX)
one.sock.connect("/run/slurm-hooks/docker.sock")
for _ in range(10_000):
    one.request("GET", "/_ping")
    assert one.getresponse().read() == b"OK"
print("all of them")"""
    done = cluster.srun(f"/usr/bin/python3 -I - <<'END'\n{script}\nEND", timeout=180)
    assert "all of them" in done.out, done
    assert settled(cluster, before) <= before
    assert memory(cluster) < MOST_MEMORY

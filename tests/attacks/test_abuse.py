# SPDX-License-Identifier: Apache-2.0
"""What one job's loads on the broker do to another's: nothing fails, nothing leaks. How fast it stays: `make abuse`."""

from __future__ import annotations

from tests.abuse.loads import MOST_MEMORY, beside, descriptors, loaded, memory, settled
from tests.cluster.slurm import Cluster


def test_docker_goes_on_in_another_job_beside_half_sent_requests(cluster: Cluster, node: str) -> None:
    # Not beside "connects and leaves": with a processor of its own that fills connect(2)'s one queue (SECURITY.md).
    seen = beside(cluster, "1,000 half-sent requests", rounds=2)
    assert seen.failed == 0
    assert seen.memory < MOST_MEMORY


def test_two_thousand_silent_connections_leave_nothing(cluster: Cluster, node: str) -> None:
    before = descriptors(cluster)
    with loaded(cluster, "2,000 connections, silent"):
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

# SPDX-License-Identifier: Apache-2.0
"""A site whose jobs have a /tmp of their own (job_container/tmpfs): a container sees the job's, and not the node's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere

PLUGIN = "JobContainerType=job_container/tmpfs"
CONF = """AutoBasePath=true
BasePath=/var/lib/lab-private
Dirs=/tmp,/dev/shm"""
# Slurm binds the mount namespace of a child, which the kernel refuses where the child's is older than its own (EINVAL,
# against loops). Linux 6.18 gives namespaces numbers in lots, a lot a processor, and goes by them: where a node's own
# came from one processor, children from another are "older" until that has used up its lot. Here it does.
USE_UP = """/usr/bin/python3 -I - <<'EOF'
import ctypes, os
for processor in os.sched_getaffinity(0):
    if os.fork() == 0:
        os.sched_setaffinity(0, {processor})
        for _ in range(5000):
            ctypes.CDLL(None).unshare(0x04000000)  # CLONE_NEWUTS, the cheapest
        os._exit(0)
    os.wait()
EOF"""


@pytest.fixture
def private(cluster: Cluster, node: str) -> Iterator[str]:
    """The node, each of its jobs with a /tmp and /dev/shm of its own."""
    cluster.must(node, USE_UP)
    cluster.must(node, f"cp /etc/slurm/slurm.conf /run/kept-slurm.conf; echo {PLUGIN} >> /etc/slurm/slurm.conf")
    cluster.must(node, "cat > /etc/slurm/job_container.conf", stdin=CONF)
    cluster.service(node, "restart", "slurmd")
    cluster.wait_idle(node)
    yield node
    cluster.must(node, "cp /run/kept-slurm.conf /etc/slurm/slurm.conf; rm /etc/slurm/job_container.conf")
    cluster.service(node, "restart", "slurmd")
    cluster.wait_idle(node)
    cluster.must(node, "umount --lazy /var/lib/lab-private; rm -rf /var/lib/lab-private")


def test_a_container_sees_the_jobs_tmp_and_not_the_nodes(cluster: Cluster, private: str) -> None:
    cluster.must(private, "echo of the node > /tmp/nodes", user="ann")
    job = cluster.sbatch(
        "echo of the job > /tmp/jobs; docker run --rm -v /tmp:/w img sh -c 'ls /w; cat /w/jobs; echo back > /w/back'; "
        "cat /tmp/back; docker run --rm -v /tmp/jobs:/one img cat /one; "
        "docker run --rm -v /tmp/nodes:/one img cat /one; echo end; sleep 600"
    )
    job.wait_for_output("end")
    other = cluster.sbatch("docker run --rm -v /tmp:/w img ls /w; echo end")
    assert other.wait()["verdict"] == "clean"
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    cluster.must(private, "rm /tmp/nodes; ! ls /tmp/jobs /tmp/back")
    lines = [line for line in job.output.splitlines() if not line.startswith("slurm-hooks: docker runs")]
    assert lines[:4] == ["jobs", "of the job", "back", "of the job"], job.output
    assert "-v /tmp/nodes: No such file or directory" in job.output
    assert "of the node" not in job.output
    assert "jobs" not in other.output and "nodes" not in other.output, other.output

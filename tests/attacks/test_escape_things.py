# SPDX-License-Identifier: Apache-2.0
"""What a job leaves that is no process: told of, removed where the site says so; it drains nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster

LEAVE = "ipcmk -M 4096; ipcmk -S 1; ipcmk -Q; echo x > /dev/shm/of-the-job; echo ESCAPED"
LOOK = """ipcs | grep -c ' ann '; ls /dev/shm"""
CLEAR = 'for k in m s q; do ipcs -$k | awk -v k=$k \'$3 == "ann" {print "-" k, $2}\' | xargs -r ipcrm; done'


@pytest.fixture
def cleared(cluster: Cluster, node: str) -> Iterator[str]:
    """The node, with nothing of ann's before and after."""
    yield node
    cluster.must(node, f"{CLEAR}; rm -f /dev/shm/of-the-job")


@pytest.fixture
def removing(cluster: Cluster, cleared: str) -> Iterator[str]:
    """A site that has them removed."""
    with cluster.site(cleared, '[epilog]\nipc = "remove"'):
        yield cleared


def test_ipc_of_a_job_is_told_of_and_stays(cluster: Cluster, cleared: str) -> None:
    job = cluster.run(LEAVE)
    assert job.events("epilog")[-1]["verdict"] == "clean"
    assert cluster.must(cleared, LOOK).split() == ["3", "of-the-job"]
    said = [event["what"].rsplit(" ", 1)[0] for event in job.events("beside")]
    assert said == ["System V shm", "System V sem", "System V msg", "/dev/shm/of-the-job"]


def test_it_is_removed_where_the_site_says_so(cluster: Cluster, removing: str) -> None:
    cluster.must(removing, "echo theirs > /dev/shm/theirs; ipcmk -M 4096 >/dev/null; chown bob /dev/shm/theirs")
    try:
        job = cluster.run(LEAVE)
        assert job.events("epilog")[-1]["verdict"] == "clean"
        assert cluster.sh(removing, LOOK).out.split() == ["0", "theirs"]
        assert cluster.must(removing, "ipcs -m").count(" root ") >= 1
        assert len(job.events("ended")) == 4
    finally:
        cluster.must(
            removing, 'rm -f /dev/shm/theirs; ipcs -m | awk \'$3 == "root" {print "-m", $2}\' | xargs -r ipcrm'
        )


def test_what_another_job_of_the_user_may_use_is_left_alone(cluster: Cluster, removing: str) -> None:
    other = cluster.sbatch("echo BEGUN; sleep 600", options="--mem=100")
    other.wait_for_output("BEGUN")
    job = cluster.sbatch(LEAVE, options="--mem=100")
    assert job.wait()["verdict"] == "clean"
    assert cluster.must(removing, LOOK).split() == ["3", "of-the-job"]
    assert job.events("beside") == job.events("ended") == []
    other.cancel()
    other.wait()


def test_a_fuse_mount_that_outlives_its_job_is_told_of(cluster: Cluster, node: str) -> None:
    if cluster.sh(node, "modprobe fuse; mountpoint -q /sys/fs/fuse/connections").status:
        pytest.skip("the lab's node has no fusectl, which tells whose a connection is")
    job = cluster.run("python3 /src/tests/labs/hung_fs.py $PWD/mine --daemon; echo ESCAPED")
    assert "ESCAPED" in job.output
    try:
        assert job.events("epilog")[-1]["verdict"] == "clean"
        assert cluster.sh(node, "pgrep -u ann").status == 1  # its server was in the job
        assert "/home/ann/mine fuse" in cluster.must(node, "cat /proc/mounts")
        (event,) = job.events("beside")
        assert (event["kind"], event["what"]) == ("fuse", "fuse on /home/ann/mine"), event
    finally:
        cluster.must(node, "fusermount3 -uz mine; rm -rf mine mine.pid", user="ann")

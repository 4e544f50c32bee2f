# SPDX-License-Identifier: Apache-2.0
"""File systems of the user's own making (FUSE, as arv-mount and sshfs are) as bind mounts, also where they hang."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere

MOUNT = "python3 /src/tests/labs/hung_fs.py $PWD/mine --daemon"
UNMOUNT = "fusermount3 -uz mine; rm -rf mine mine.pid"
CONF = "/etc/fuse.conf"


@pytest.fixture(scope="module")
def fuse(cluster: Cluster) -> Iterator[str]:
    """A node on which users may mount FUSE file systems, and open them to others."""
    node = cluster.node
    device = "[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; chmod 666 /dev/fuse"
    if cluster.sh(node, f"modprobe fuse; grep -qw fuse /proc/filesystems && {device}").status:
        pytest.skip("the kernel of this lab has no FUSE")
    cluster.must(node, f"cp -p {CONF} /run/kept-fuse.conf; echo user_allow_other >> {CONF}")
    yield node
    cluster.must(node, f"cp -p /run/kept-fuse.conf {CONF}")


def test_one_that_others_may_use_is_mounted(cluster: Cluster, fuse: str, node: str) -> None:
    done = cluster.srun(
        f"{MOUNT} --options fsname=lab,allow_other; docker run --rm -v $PWD/mine:/w:ro img "
        f"stat -c %s /w/ok /w/stuck; {UNMOUNT}"
    )
    assert done.out.splitlines()[-2:] == ["4096", "4096"], done


def test_one_that_is_its_owners_alone_is_refused_in_words(cluster: Cluster, fuse: str, node: str) -> None:
    done = cluster.srun(f"{MOUNT}; docker run --rm -v $PWD/mine:/w img true; {UNMOUNT}")
    assert (
        "-v /home/ann/mine: Permission denied: /home/ann/mine is a FUSE file system, which has to be mounted with "
        "-o allow_other." in done.err
    ), done


def test_one_that_hangs_costs_its_own_launch_a_deadline_and_nobody_else(cluster: Cluster, fuse: str, node: str) -> None:
    job = cluster.sbatch(
        f"{MOUNT} --options fsname=lab,allow_other; kill -STOP $(cat mine.pid); "
        "docker run --rm -v $PWD/mine/ok:/w img true; kill -CONT $(cat mine.pid); docker run --rm img echo after it; "
        f"{UNMOUNT}"
    )
    cluster.wait(node, "pgrep -f '[f]rom slurm_hooks.broker import staging' >/dev/null", "the launch's staging")
    beside = cluster.srun("docker run --rm img echo beside it", user="bob")
    assert "beside it" in beside.out, beside
    assert job.wait()["verdict"] == "clean"
    assert "-v /home/ann/mine/ok: no answer of its file system in 10 s" in job.output, job.output
    assert "after it" in job.output

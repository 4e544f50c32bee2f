# SPDX-License-Identifier: Apache-2.0
"""Root that is nobody: `--user 0` on a dockerd with userns-remap, where the site lets jobs have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import nfs
from tests.cluster.remap import REMAP, remapped
from tests.cluster.slurm import Cluster

ASK = "docker run --rm --user {} img id"


@pytest.fixture(scope="module")
def uid(cluster: Cluster) -> Iterator[int]:
    """Whom root inside is outside."""
    with remapped(cluster) as found:
        yield found


# These come first: the fixture `uid` changes the node until the module's end.


def test_root_is_refused_where_the_site_says_nothing(cluster: Cluster, node: str) -> None:
    done = cluster.srun(ASK.format("0"))
    assert done.status == 125 and "root inside is for the site to allow" in done.err


def test_root_is_refused_on_a_dockerd_that_does_not_remap(cluster: Cluster, node: str) -> None:
    with cluster.site(node, REMAP):
        said = cluster.srun_each({user: ASK.format(user) for user in ("0", "root", "0:0")})
    assert all("this node's dockerd has no userns-remap" in done.err for done in said.values()), said


def test_root_inside_is_nobody_outside_and_all_others_are_as_ever(cluster: Cluster, node: str, uid: int) -> None:
    script = """rm -rf d; mkdir d; docker run -d --name root --user root -v $HOME/d:/d img sh -c '
id; echo x > /d/file; echo x > /tmp/file; echo x > /dev/shm/file; exec sleep 4321'
docker run -d --name own img sleep 4322
docker exec root id; docker exec --user 0:0 root id -u; docker exec --user $(id -u) root id; docker exec own id -u
docker logs root; echo begun; sleep 600"""
    job = cluster.sbatch(script)
    job.wait_for_output("begun")
    looks = cluster.must(
        node,
        'for n in 4321 4322; do p=$(pgrep -fx "sleep $n"); ps -o uid=,gid= -p $p; readlink /proc/$p/ns/user; done; '
        "readlink /proc/1/ns/user; stat -c '%U %G' /home/ann/d/file",
    ).split("\n")
    said = job.output
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    assert looks[0].split() == [str(uid), str(uid)] and uid >= 100_000
    assert looks[1] != looks[4], "root inside has users of its own"
    assert looks[2].split() == ["1001", "1001"] and looks[3] == looks[4], "a plain container has the node's"
    assert looks[5] == "ann ann"
    assert said.count("uid=0(root) gid=0(root) groups=0(root)") == 2, said
    assert "it runs as root, as its container does" in said and "\n0\n" in said and "\n1001\n" in said, said
    assert [event["read_back"] for event in job.events("start")] == ["as asked"] * 2
    assert cluster.left_on(node) == []


def test_root_inside_is_a_stranger_to_what_is_not_the_users(cluster: Cluster, node: str, uid: int) -> None:
    cluster.must(node, "mkdir -p d", user="ann")
    cluster.must(node, "cd /home/ann/d; for who in root bob; do echo s > $who; chown $who $who; chmod 600 $who; done")
    reads = "cd /d; ls -ln; cat root || echo closed; cat bob || echo closed; echo x > root || echo closed"
    done = cluster.srun(f"docker run --rm --user 0 -v $HOME/d:/d img sh -c '{reads}'; rm -rf d")
    assert done.out.count("closed") == 3 and done.out.count("65534") == 4, done


def test_root_inside_writes_to_a_directory_of_the_users_project(cluster: Cluster, node: str, uid: int) -> None:
    make = "mkdir /home/ann/d; chown ann:bob /home/ann/d; chmod 2770 /home/ann/d"
    # slurmctld says which groups a job has; one of 22.05 reads them anew after ten minutes alone (GroupUpdateTime).
    anew = "systemctl restart slurmctld" if cluster.release == (22, 5) else "scontrol reconfigure"
    for host in {node, cluster.lab.controller}:
        cluster.must(host, f"usermod -aG bob ann; {anew}")
    cluster.must(node, make)
    try:
        done = cluster.srun(
            "id -Gn; docker run --rm --user 0 -v $HOME/d:/d img touch /d/x; stat -c '%U %G' d/x; rm -r d"
        )
    finally:
        for host in {node, cluster.lab.controller}:
            cluster.must(host, f"gpasswd -d ann bob; {anew}")
        cluster.must(node, "rm -rf /home/ann/d")
    assert done.out.endswith("ann bob\nann bob\n"), done


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_what_it_writes_on_a_file_system_is_the_users(cluster: Cluster, node: str, uid: int, kind: str) -> None:
    loop = "modprobe loop; truncate -s 1M /run/loop && losetup -d $(losetup --find --show /run/loop)"
    if cluster.sh(node, f"{loop} && grep -qw {kind} /proc/filesystems").status:
        pytest.skip(f"the node of this lab has no loop device, or its kernel no {kind}")
    disk, place = "/var/tmp/lab-disk", "/mnt/lab-disk"
    cluster.must(
        node,
        f"set -e; truncate -s 400M {disk}; mkfs.{kind} -q {disk}; mkdir -p {place}; mount -o loop {disk} {place}; "
        f"install -d -m 700 -o ann -g ann {place}/d",
    )
    try:
        done = cluster.srun(f"docker run --rm --user 0 -v {place}/d:/d img touch /d/x; stat -c '%U %G' {place}/d/x")
    finally:
        cluster.must(node, f"umount {place}; rmdir {place}; rm {disk}")
    assert done.out.endswith("\nann ann\n"), done


def test_nfs_is_refused_by_its_name(cluster: Cluster, node: str, uid: int) -> None:
    with nfs.mounted(cluster) as place:
        cluster.must(node, f"install -d -m 700 -o ann -g ann {nfs.ON_DISK}/ann")
        done = cluster.srun(f"docker run --rm --user 0 -v {place}/ann:/d img touch /d/x")
    assert "it is on nfs4, whose files root inside could not own" in done.err, done


def test_a_file_system_that_cannot_is_refused_by_its_name(cluster: Cluster, node: str, uid: int) -> None:
    place = "/mnt/lab-over"
    cluster.must(
        node,
        f"mkdir -p {place}; mount -t tmpfs tmpfs {place}; cd {place}; mkdir l u w o ok; chown ann:ann . ok; "
        "mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay o; chown ann o",
    )
    try:
        said = cluster.srun_each({
            name: f"docker run --rm --user {user} -v {place}/{name[:2].strip()}:/d img touch /d/x"
            for name, user in (("o root", "0"), ("ok root", "0"), ("o self", "$(id -u)"))
        })  # fmt: skip
    finally:
        cluster.must(node, f"umount {place}/o; umount {place}; rmdir {place}")
    refused = "it is on overlay, whose files root inside could not own. Mount another directory, or run as yourself"
    assert refused in said["o root"].err, said
    assert (said["ok root"].status, said["o self"].status) == (0, 0), said

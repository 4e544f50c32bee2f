# SPDX-License-Identifier: Apache-2.0
"""Bind mounts: sources that are not what their name says, and targets that are not where they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.wire import DOCKERD
from tests.cluster.slurm import Cluster
from tests.labs.base import Done

# Each prints nothing of root's: `docker run -v SOURCE:/x img ls -a /x`, and words of the refusal.
SOURCES: dict[str, tuple[str, str]] = {
    "a link to /etc": ("ln -sfn /etc l; SOURCE=$PWD/l", "/etc is the node's own"),
    "a link to the root": ("ln -sfn / l; SOURCE=$PWD/l", "which is the node's own"),
    "a link below a link": ("ln -sfn / l; SOURCE=$PWD/l/etc", "/etc is the node's own"),
    "a chain of links": ("ln -sfn /etc l; ln -sfn l m; ln -sfn m n; SOURCE=$PWD/n", "/etc is the node's own"),
    "a link to a file": ("ln -sfn /etc/passwd l; SOURCE=$PWD/l", "/etc is the node's own"),
    "a path that climbs": ("SOURCE=$PWD/../../etc", "/etc is the node's own"),
    "many slashes": ("SOURCE=//etc//", "/etc is the node's own"),
    "the root of a process": ("SOURCE=/proc/self/root/etc", "Too many levels"),
    "the root of process 1": ("SOURCE=/proc/1/root/etc", "denied"),
    "the root of the job's shell": ("SOURCE=/proc/$$/root/etc", "Too many levels"),
    "the directory of the job's shell": ("cd /etc; SOURCE=/proc/$$/cwd", "Too many levels"),
    "a descriptor": ("exec 9</etc; SOURCE=/proc/$$/fd/9", "Too many levels"),
    "a link to a descriptor": ("exec 9</etc; ln -sfn /proc/$$/fd/9 l; SOURCE=$PWD/l", "Too many levels"),
    "a link to the helper's own": ("ln -sfn /proc/self/fd/3 l; SOURCE=$PWD/l", "Too many levels"),
    "the directory of processes": ("SOURCE=/proc", "/proc is the node's own"),
    "devices": ("SOURCE=/dev", "/dev is the node's own"),
    "shared memory": ("SOURCE=/dev/shm", "/dev is the node's own"),
    "cgroups": ("SOURCE=/sys/fs/cgroup", "/sys is the node's own"),
    "the broker's directory": ("SOURCE=/run/slurm-hooks", "/run is the node's own"),
    "the broker's socket": ("SOURCE=/run/slurm-hooks/docker.sock", "cannot be mounted"),
    "the broker's socket by a link": ("ln -sfn /run/slurm-hooks/docker.sock l; SOURCE=$PWD/l", "cannot be mounted"),
    "the broker's socket through /var/run": ("SOURCE=/var/run/slurm-hooks", "/run is the node's own"),
    "what holds the sockets": ("SOURCE=/run", "/run is the node's own"),
    "dockerd's socket": ("SOURCE=/run/slurm-hooks-docker/docker.sock", "Permission denied"),
    "dockerd's data": ("SOURCE=/var/lib/slurm-hooks-docker", "/var/lib is the node's own"),
    "what holds dockerd's data": ("SOURCE=/var", "which is the node's own"),
    "a stage of ours": ("SOURCE=/run/slurm-hooks/stage", "denied"),
    "the records": ("SOURCE=/run/slurm-hooks/jobs", "/run is the node's own"),
    "munge's socket": ("SOURCE=/run/munge/munge.socket.2", "cannot be mounted"),
    "another user's home": ("SOURCE=/home/bob/x", "Permission denied"),
    "a socket of one's own": (
        """/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'; SOURCE=$PWD/s""",
        "a socket cannot be mounted",
    ),
    "a hard link of a socket": (
        """/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'; ln s t; SOURCE=$PWD/t""",
        "a socket cannot be mounted",
    ),
    "a pipe": ("mkfifo p; SOURCE=$PWD/p", "a pipe cannot be mounted"),
    "a device": ("SOURCE=$HOME/attack-null", "a device cannot be mounted"),
    "nothing": ("SOURCE=$PWD/nothing", "No such file"),
    "a file as a directory": ("touch f; SOURCE=$PWD/f/", "Not a directory"),
    "no absolute path": ("SOURCE=./x", "volumes are not offered"),
}
IN_NAMESPACE = """unshare -Urm sh -c '
mount --bind /etc d && docker run --rm -v $PWD/d:/x img ls -a /x' || unshare -Ur true || echo no user namespaces here"""
# Targets that lead into the container's own /proc, /sys or /dev through a link in another mount.
TARGETS = {
    "dev": "mkdir -p a bad; ln -sfn /dev a/l; docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l img sh -c 'ls /dev'",
    "proc": "mkdir -p a bad; ln -sfn /proc a/l; docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l/sys img ls /proc/sys",
    "a file of proc": (
        "mkdir -p a; echo x > f; ln -sfn /proc a/l; docker run --rm -v $PWD/a:/a -v $PWD/f:/a/l/version img true"
    ),
    "sys": "mkdir -p a bad; ln -sfn /sys a/l; docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l/fs img true",
}
WORKDIRS = {
    f"workdir {number}": f"ln -sfn /proc/self/fd/{number} l; docker run --rm -v $PWD:/a -w /a/l img ls ../../.. .."
    for number in (3, 5, 6, 7, 8, 9)
}
WITHIN = {
    "a setuid file": "docker run --rm -v $HOME:/x img /x/attack-id -u",
    "a device in a directory": "docker run --rm -v $HOME:/x img sh -c 'echo x > /x/attack-null'",
    "a file that is read-only on the node": "docker run --rm -v /mnt/attack-ro:/x img touch /x/f",
    "a mount below that is read-only": "docker run --rm -v /mnt:/x img touch /x/attack-ro/f",
    "a file that root alone reads": "docker run --rm -v $HOME:/x img cat /x/attack-secret",
}
ON_THE_NODE = {
    "the node's setuid": "$HOME/attack-id -u",
    "the node's device": "echo x > $HOME/attack-null && echo written",
}
IN_OWN_DIRECTORY = "rm -rf $HOME/attack; mkdir $HOME/attack; cd $HOME/attack; mkdir d\n{}\nstatus=$?; cd; rm -rf $HOME/attack; exit $status"
PREPARE = f"""set -e; image=$(docker -H unix://{DOCKERD} create --network none img)
docker -H unix://{DOCKERD} cp -q $image:/bin/busybox /home/ann/attack-box; docker -H unix://{DOCKERD} rm $image
cp /usr/bin/id /home/ann/attack-id; cp -f /home/ann/attack-box /home/ann/attack-id; chown root /home/ann/attack-id
chmod 4755 /home/ann/attack-id; rm -f /home/ann/attack-box
mknod -m 666 /home/ann/attack-null c 1 3; echo secret > /home/ann/attack-secret; chmod 600 /home/ann/attack-secret
mkdir -p /mnt/attack-src /mnt/attack-ro; chmod 777 /mnt/attack-src; mount --bind /mnt/attack-src /mnt/attack-ro
mount -o remount,bind,ro /mnt/attack-ro"""
RESTORE = """umount /mnt/attack-ro; rm -rf /mnt/attack-src /mnt/attack-ro
rm -f /home/ann/attack-id /home/ann/attack-null /home/ann/attack-secret"""


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[None]:
    """A setuid file and a device of root's in the user's home, and a mount that is read-only."""
    cluster.must(cluster.node, PREPARE)
    yield
    cluster.sh(cluster.node, RESTORE)


@pytest.fixture(scope="module")
def done(cluster: Cluster, prepared: None) -> dict[str, Done]:
    """Everything, tried in one job."""
    run = 'docker run --rm -v "$SOURCE":/x img sh -c "ls -a /x; cat /x"'
    scripts = {name: f"{source}\n{run}" for name, (source, _) in SOURCES.items()}
    scripts |= TARGETS | WORKDIRS | WITHIN | ON_THE_NODE | {"namespace": IN_NAMESPACE}
    return cluster.srun_each({name: IN_OWN_DIRECTORY.format(script) for name, script in scripts.items()})


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_is_not_the_users_is_refused(done: dict[str, Done], name: str) -> None:
    assert SOURCES[name][1] in done[name].err, done[name]
    assert done[name].out == "", done[name]


def test_a_mount_namespace_of_the_users_own_shows_nothing(done: dict[str, Done]) -> None:
    said = done["namespace"]
    assert "a mount namespace that a user made" in said.err or "no user namespaces here" in said.out, said
    assert "passwd" not in said.out


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_does_not_lead_into_the_containers_kernel_files(done: dict[str, Done], name: str) -> None:
    assert done[name].status != 0, done[name]


@pytest.mark.parametrize("name", WORKDIRS)
def test_a_working_directory_is_no_way_out(done: dict[str, Done], name: str) -> None:
    assert "home" not in done[name].out and "cgroup.procs" not in done[name].out, done[name]


def test_setuid_does_not_count(done: dict[str, Done]) -> None:
    assert done["a setuid file"].out.split()[-1:] == ["1001"], done["a setuid file"]


def test_a_device_is_no_device(done: dict[str, Done]) -> None:
    said = done["a device in a directory"]
    assert "ermission denied" in said.err, said


@pytest.mark.parametrize("name", ["a file that is read-only on the node", "a mount below that is read-only"])
def test_what_is_read_only_on_the_node_stays_so(done: dict[str, Done], name: str) -> None:
    assert "Read-only file system" in done[name].err, done[name]


def test_what_root_alone_reads_stays_unread(done: dict[str, Done]) -> None:
    said = done["a file that root alone reads"]
    assert "Permission denied" in said.err and "secret\n" not in said.out, said


def test_on_the_node_itself_the_device_is_one(done: dict[str, Done]) -> None:
    assert done["the node's device"].out == "written\n", done["the node's device"]


def test_dockerd_itself_mounts_what_a_link_leads_to(cluster: Cluster, node: str) -> None:
    cluster.must(node, "ln -sfn /etc attack-link", user="ann")
    said = cluster.docker(node, "run --rm --network none -v /home/ann/attack-link:/x img ls /x")
    cluster.must(node, "rm attack-link", user="ann")
    assert "passwd" in said.out, said


# `x` is in turn a directory of the user's that has an `etc`, and a link to the root.
RACE = """/usr/bin/python3 - <<'EOF' &
import ctypes, os
libc = ctypes.CDLL(None)
while os.path.exists("race"):
    libc.renameat2(-100, b"race/x", -100, b"race/y", 2)
EOF
for i in $(seq 25); do docker run --rm -v $PWD/race/x/etc:/x img ls /x; done 2>&1"""


def test_a_race_between_check_and_mount_is_never_won(cluster: Cluster, node: str) -> None:
    script = f"rm -rf race; mkdir -p race/x/etc; touch race/x/etc/mine; ln -s / race/y\n{RACE}\nrm -r race; wait"
    job = cluster.run(script)
    lines = [line for line in job.output.splitlines() if line and not line.startswith("slurm-hooks: docker runs")]
    refused = ("/etc is the node's own", "No such file", "See 'docker run", "Run 'docker run")
    seen = [line for line in lines if not any(words in line for words in refused)]
    assert set(seen) == {"mine"}, job.output

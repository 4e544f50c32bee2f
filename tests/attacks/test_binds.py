# SPDX-License-Identifier: Apache-2.0
"""Bind mounts: sources that are not what their name says, and targets that are not where they say."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster
from tests.labs.base import Done

# How a source is made, in a directory of its own, and words of the refusal.
SOURCES: dict[str, tuple[str, str]] = {
    "a link to /etc": ("ln -sfn /etc l; SOURCE=$PWD/l", "/etc is the node's own"),
    "a link to the root": ("ln -sfn / l; SOURCE=$PWD/l", "which is the node's own"),
    "a link below a link": ("ln -sfn / l; SOURCE=$PWD/l/etc", "/etc is the node's own"),
    "a chain of links": ("ln -sfn /etc l; ln -sfn l m; ln -sfn m n; SOURCE=$PWD/n", "/etc is the node's own"),
    "a link to a file": ("ln -sfn /etc/passwd l; SOURCE=$PWD/l", "/etc is the node's own"),
    "a path that climbs": ("SOURCE=$PWD/../../../../etc", "/etc is the node's own"),
    "many slashes": ("SOURCE=//etc//", "/etc is the node's own"),
    "the root of a process": ("SOURCE=/proc/self/root/etc", "Too many levels"),
    "the root of process 1": ("SOURCE=/proc/1/root/etc", "denied"),
    "the root of the job's shell": ("SOURCE=/proc/$$/root/etc", "Too many levels"),
    "the directory of the job's shell": ("SOURCE=/proc/$$/cwd", "Too many levels"),
    "a descriptor": ("exec 9</etc; SOURCE=/proc/$$/fd/9", "Too many levels"),
    "a link to a descriptor": ("exec 9</etc; ln -sfn /proc/$$/fd/9 l; SOURCE=$PWD/l", "Too many levels"),
    "a link to the helper's own": ("ln -sfn /proc/self/fd/3 l; SOURCE=$PWD/l", "Too many levels"),
    "the directory of processes": ("SOURCE=/proc", "/proc is the node's own"),
    "devices": ("SOURCE=/dev", "/dev is the node's own"),
    "shared memory": ("SOURCE=/dev/shm", "/dev is the node's own"),
    "cgroups": ("SOURCE=/sys/fs/cgroup", "/sys is the node's own"),
    "the broker's directory": ("SOURCE=/run/slurm-hooks", "/run is the node's own"),
    "the broker's socket": ("SOURCE=/run/slurm-hooks/docker.sock", "cannot be mounted"),
    "the user's own socket": ("SOURCE=${DOCKER_HOST#unix://}", "cannot be mounted"),
    "the broker's socket by a link": ("ln -sfn /run/slurm-hooks/docker.sock l; SOURCE=$PWD/l", "cannot be mounted"),
    "the broker's socket through /var/run": ("SOURCE=/var/run/slurm-hooks", "/run is the node's own"),
    "what holds the sockets": ("SOURCE=/run", "/run is the node's own"),
    "dockerd's socket": ("SOURCE=/run/slurm-hooks-docker/docker.sock", "Permission denied"),
    "dockerd's data": ("SOURCE=/var/lib/slurm-hooks-docker", "/var/lib is the node's own"),
    "what holds dockerd's data": ("SOURCE=/var", "which is the node's own"),
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
mount --rbind /etc d && docker run --rm -v $PWD/d:/x img ls -a /x' || unshare -Ur true ||
echo no user namespaces here"""
WORKDIRS = {
    f"workdir {number}": f"ln -sfn /proc/self/fd/{number} l; docker run --rm -v $PWD:/a -w /a/l img ls ../../.. .."
    for number in (5, 7, 8)
}
OWNER = "stat -c %U $HOME/attack-made; rm -f $HOME/attack-made"
WITHIN = {
    "a setuid file": f"docker run --rm -v $HOME:/x img /x/attack-cache -X -f /dev/null -C /x/attack-made; {OWNER}",
    "a device in a directory": "docker run --rm -v $HOME:/x img sh -c 'echo x > /x/attack-null'",
    "a file that is read-only on the node": "docker run --rm -v /mnt/attack-ro:/x img touch /x/f",
    "a mount below that is read-only": "docker run --rm -v /mnt:/x img touch /x/attack-ro/f",
    "a file that root alone reads": "docker run --rm -v $HOME:/x img cat /x/attack-secret",
}
ON_THE_NODE = {
    "the node's setuid": f"$HOME/attack-cache -X -f /dev/null -C $HOME/attack-made; {OWNER}",
    "the node's device": "echo x > $HOME/attack-null && echo written",
}
IN_OWN_DIRECTORY = """rm -rf $HOME/attack; mkdir $HOME/attack; cd $HOME/attack; mkdir d
{}
status=$?; cd; rm -rf $HOME/attack; exit $status"""
# One shell makes all sources and stays, so its descriptors do; one client asks for a container with each.
CREATE = """/usr/bin/python3 -I -c '
import http.client, json, socket, sys
for number, source in enumerate(open("sources").read().split("\\n")[:-1]):
    client = http.client.HTTPConnection("docker")
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect("/run/slurm-hooks/docker.sock")
    body = {"Image": "img", "HostConfig": {"Binds": [source + ":/x"]}}
    client.request("POST", "/containers/create", json.dumps(body))
    answer = client.getresponse()
    print("ANSWER", json.dumps([answer.status, json.load(answer).get("message", "")]), flush=True)
'"""
PREPARE = """set -e; rm -f /home/ann/attack-made
cp /sbin/ldconfig /home/ann/attack-cache; chmod 4755 /home/ann/attack-cache  # static, and its file is its euid's
mknod -m 666 /home/ann/attack-null c 1 3; echo secret > /home/ann/attack-secret; chmod 600 /home/ann/attack-secret
mkdir -p /mnt/attack-src /mnt/attack-ro; chmod 777 /mnt/attack-src; mount --bind /mnt/attack-src /mnt/attack-ro
mount -o remount,bind,ro /mnt/attack-ro"""
RESTORE = """umount /mnt/attack-ro; rm -rf /mnt/attack-src /mnt/attack-ro
rm -f /home/ann/attack-cache /home/ann/attack-made /home/ann/attack-null /home/ann/attack-secret"""


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[None]:
    """A setuid file and a device of root's in the user's home, and a mount that is read-only."""
    cluster.must(cluster.node, PREPARE)
    yield
    cluster.sh(cluster.node, RESTORE)


@pytest.fixture(scope="module")
def done(cluster: Cluster, prepared: None) -> dict[str, Done]:
    """What takes a container each, tried in one job."""
    scripts = WORKDIRS | WITHIN | ON_THE_NODE | {"namespace": IN_NAMESPACE}
    return cluster.srun_each({name: IN_OWN_DIRECTORY.format(script) for name, script in scripts.items()})


@pytest.fixture(scope="module")
def sources(cluster: Cluster, prepared: None) -> dict[str, tuple[int, str]]:
    """The answer to a create with each source: status and message."""
    made = [
        f"mkdir $HOME/attack/{number}; cd $HOME/attack/{number}; {source}; echo $SOURCE >> $HOME/attack/sources"
        for number, (source, _) in enumerate(SOURCES.values())
    ]
    script = "\n".join(
        ["rm -rf $HOME/attack; mkdir $HOME/attack", *made, "cd $HOME/attack", CREATE, "rm -rf $HOME/attack"]
    )
    lines = [line for line in cluster.srun(script).out.splitlines() if line.startswith("ANSWER ")]
    answers = [json.loads(line.removeprefix("ANSWER ")) for line in lines]
    return dict(zip(SOURCES, answers, strict=True))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_is_not_the_users_is_refused(sources: dict[str, tuple[int, str]], name: str) -> None:
    status, message = sources[name]
    assert status == 403 and SOURCES[name][1] in message, message


def test_a_mount_namespace_of_the_users_own_shows_nothing(done: dict[str, Done]) -> None:
    said = done["namespace"]
    assert "a mount namespace that a user made" in said.err or "no user namespaces here" in said.out, said
    assert "passwd" not in said.out


@pytest.mark.parametrize("name", WORKDIRS)
def test_a_working_directory_is_no_way_out(done: dict[str, Done], name: str) -> None:
    assert "home" not in done[name].out and "cgroup.procs" not in done[name].out, done[name]


def test_setuid_does_not_count(done: dict[str, Done]) -> None:
    assert done["a setuid file"].out == "ann\n", done["a setuid file"]


def test_on_the_node_itself_setuid_counts(done: dict[str, Done]) -> None:
    assert done["the node's setuid"].out == "root\n", done["the node's setuid"]


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
RACE = """rm -rf attack; mkdir -p attack/x/etc; touch attack/x/etc/mine; ln -s / attack/y; cd attack
/usr/bin/python3 -I -c '
import ctypes, os
libc = ctypes.CDLL(None)
while not os.path.exists("over"):
    libc.renameat2(-100, b"x", -100, b"y", 2)
' &
for i in $(seq 24); do echo $PWD/x/etc; done > sources"""
SEEN = "for one in /run/slurm-hooks/stage/*/0; do ls $one; done | sort -u"


@pytest.mark.anywhere
def test_a_race_between_check_and_mount_is_never_won(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"{RACE}\n{CREATE}\ntouch over; wait; echo all asked; until [ -e go ]; do sleep 0.1; done")
    job.wait_for_output("all asked", within=180)
    seen = cluster.must(node, SEEN)
    cluster.must(node, "touch attack/go", user="ann")
    job.wait()
    cluster.must(node, "rm -r attack", user="ann")
    assert seen == "mine\n", job.output
    assert "[403, " in job.output, "the race was none"

# SPDX-License-Identifier: Apache-2.0
"""Unix sockets in a bind mount: what a container reaches through them, and that a site can close them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.attacks.calls import ARGUMENTS, ASK, BRING, EPERM, PYTHON, REACHED, Answers, Wishes, question
from tests.cluster.slurm import Cluster
from tests.labs.base import Done

EAFNOSUPPORT = 97
REFUSE = '[mounts]\nsockets = "refuse"'
# A process of the user's in the job, not in the container. Who connects is given a socket of the node's network, that
# network itself and the process.
LISTEN = """
import os, select, socket
stream, datagrams, packets = (socket.socket(socket.AF_UNIX, kind) for kind in (1, 2, 5))
door = socket.create_server(("127.0.0.1", 0))
stream.bind("s/streams"), datagrams.bind("s/datagrams"), packets.bind("s/packets")
stream.listen(), packets.listen(), datagrams.setblocking(False)
open("s/ready", "w").close()
while True:
    ready = select.select([stream, datagrams], [], [])[0]
    while datagrams in ready:
        try:
            print(datagrams.recv(99).decode(), flush=True)
        except BlockingIOError:
            break
    if stream in ready:
        peer, _ = stream.accept()
        print(peer.recv(99).decode(), flush=True)
        line = socket.create_connection(door.getsockname())
        door.accept()[0].sendall(b"the network of the node")
        network = os.open("/proc/self/ns/net", os.O_RDONLY)
        socket.send_fds(peer, [b"x"], [line.fileno(), network, os.pidfd_open(os.getpid())])
"""
# In the container: each way to one of these sockets, and what became of it.
REACH = """
import ctypes, errno, json, os, struct, socket as s

PIDFD_SEND_SIGNAL, PIDFD_GETFD, SETNS = 424, 438, 308
handed = {}

def by_stream():
    with s.socket(s.AF_UNIX) as line:
        line.connect("/s/streams")
        line.send(b"a stream")
        _, [(_, _, given)], _, _ = line.recvmsg(9, s.CMSG_SPACE(12))
        door, network, process = struct.unpack("3i", given)
        handed["a network"] = tried(call, SETNS, network, 0)
        handed["a process, its files"] = tried(call, PIDFD_GETFD, process, 0, 0)
        handed["a process, a signal"] = tried(call, PIDFD_SEND_SIGNAL, process, 9, None, 0)
        with s.socket(fileno=door) as network:
            return network.recv(99).decode()

def call(*words):
    if ctypes.CDLL(None, use_errno=True).syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")

def by_datagram():
    with s.socket(s.AF_UNIX, s.SOCK_DGRAM) as line:
        line.sendto(b"a datagram", "/s/datagrams")

def by_pair(kind, what, path):
    one, other = s.socketpair(s.AF_UNIX, kind)
    if what.endswith("alone"):
        other.close()
    if what.startswith("sends"):
        one.sendto(b"a pair that " + what.encode(), path)
    elif what.startswith("listens"):
        one.bind(f"/s/own, {kind}, {what}")
        one.listen()
    else:
        one.connect(path)
        one.send(b"a pair that " + what.encode())

def tried(way, *arguments):
    try:
        return way(*arguments) or "sent"
    except OSError as error:
        return errno.errorcode[error.errno]

said = {
    "a datagram": tried(by_datagram),
    "datagrams, a pair that sends": tried(by_pair, s.SOCK_DGRAM, "sends", "/s/datagrams"),
    "datagrams, a pair that connects": tried(by_pair, s.SOCK_DGRAM, "connects", "/s/datagrams"),
    "raw, a pair that sends": tried(by_pair, s.SOCK_RAW, "sends, raw", "/s/datagrams"),
    **{
        f"{name}, a pair that {what}": tried(by_pair, kind, what, f"/s/{name}")
        for name, kind in (("streams", s.SOCK_STREAM), ("packets", s.SOCK_SEQPACKET))
        for what in ("connects", "connects, alone", "listens", "listens, alone")
    },
    "a stream": tried(by_stream),
}
for name in os.listdir("/s"):
    if name.startswith("own"):
        os.unlink(f"/s/{name}")
print("SAID", json.dumps(said | handed))
"""
OUTSIDE = """/usr/bin/python3 -I -c '
import socket
line = socket.socket(socket.AF_UNIX)
line.connect("s/streams"), line.send(b"outside"), line.recv(9)'"""
ALLOWED = {
    "a stream", "a datagram", "a pair that sends", "a pair that connects", "a pair that sends, raw", "outside",
}  # fmt: skip
# What programs do all day, with no socket of the node's.
WORK = """
import json, os, pwd, socket, subprocess, threading
one, other = socket.socketpair()
threading.Thread(target=lambda: other.sendall(other.recv(9).upper())).start()
one.sendall(b"pair")
door = socket.create_server(("127.0.0.1", 0))
line = socket.create_connection(door.getsockname())
door.accept()[0].sendall(b"loopback")
print("SAID", json.dumps([
    one.recv(9).decode(), line.recv(9).decode(), pwd.getpwuid(os.getuid()).pw_name,
    subprocess.run(["sh", "-c", "echo $0 | tr a-z A-Z; logger x"], stdout=-1, text=True).stdout,
]))
"""
WITH_PYTHON = "-v $PWD/py:/py:ro -e PYTHONHOME=/py"
MOUNTED = f"-v $PWD/s:/s {WITH_PYTHON}"
SCENE = f"""{BRING}
rm -rf s; mkdir s; docker run -d --name earlier {MOUNTED} img sleep 600 >/dev/null
/usr/bin/python3 -I -c '{LISTEN}' > got & until [ -e s/ready ]; do sleep 0.1; done
docker exec -i earlier {PYTHON} - < reach.py
docker run -i --rm {MOUNTED} img {PYTHON} - < reach.py
{OUTSIDE}; kill $!; sed 's/^/GOT /' got; rm -rf s
docker run -i --rm {WITH_PYTHON} img {PYTHON} - < work.py
docker run -i --rm {WITH_PYTHON} img {ASK}; rm -r py got calls reach.py work.py"""
# As the filter answers them where the site closes Unix sockets; all else as ever.
CLOSED: Wishes = {
    "a Unix socket": (EAFNOSUPPORT, ("socket", 1, 1)),
    "a Unix socket, of datagrams": (EAFNOSUPPORT, ("socket", 1, 2)),
    "a Unix socket and a stray bit": (EAFNOSUPPORT, ("socket", 1 | 1 << 32, 1)),
    "a pair of datagrams": (EPERM, ("socketpair", 1, 2)),
    "a raw pair": (EPERM, ("socketpair", 1, 3)),
    "a pair of datagrams, closed on exec": (EPERM, ("socketpair", 1, 0o2000002)),
    "a pair of datagrams and a stray bit": (EPERM, ("socketpair", 1, 2 | 1 << 32)),
    "a pair of packets": (REACHED, ("socketpair", 1, 5)),
    "a pair of streams, closed on exec": (REACHED, ("socketpair", 1, 0o2000001)),
}


@dataclass(frozen=True)
class Scene:
    """What came of it."""

    done: Done
    got: list[str]  # by the process outside
    later: dict[str, str]  # said in a container that was there before the sockets, by an exec
    said: dict[str, str]  # in one that came after them
    work: list[str]
    answers: Answers


def scene(cluster: Cluster) -> Scene:
    """Play it in a job of ann's."""
    files = {"reach.py": REACH, "work.py": WORK}
    for name, text in (files | {"calls": json.dumps(question(ARGUMENTS | CLOSED))}).items():
        cluster.must(cluster.node, f"cat > {name}", user="ann", stdin=text)
    done = cluster.srun(SCENE, timeout=240)
    lines = done.out.splitlines()
    said = [json.loads(line.removeprefix("SAID ")) for line in lines if line.startswith("SAID ")]
    assert len(said) == 3, done
    later, at_once, work = said
    got = [line.removeprefix("GOT ") for line in lines if line.startswith("GOT ")]
    return Scene(done, got, later, at_once, work, json.loads(lines[-1]))


@pytest.fixture(scope="module")
def open_(cluster: Cluster) -> Scene:
    """As installed."""
    return scene(cluster)


@pytest.fixture(scope="module")
def closed(cluster: Cluster) -> Scene:
    """Where the site has said so."""
    with cluster.site(cluster.node, REFUSE):
        return scene(cluster)


def test_as_installed_a_container_reaches_a_socket_in_a_mount_and_by_it_the_network(open_: Scene) -> None:
    assert open_.said["a stream"] == open_.later["a stream"] == "the network of the node", open_.done
    assert set(open_.got) == ALLOWED


def test_a_descriptor_that_is_handed_in_leads_into_no_namespace_and_no_process(open_: Scene) -> None:
    """setns(2), pidfd_getfd(2): seccomp. pidfd_send_signal(2): the kernel, to none but of this pid namespace."""
    for said in (open_.said, open_.later):
        expected = {"a network": "EPERM", "a process, its files": "EPERM", "a process, a signal": "EINVAL"}
        assert {name: said[name] for name in expected} == expected, open_.done


def test_where_the_site_closes_them_nothing_arrives(closed: Scene) -> None:
    assert closed.got == ["outside"], closed.done
    assert closed.said == closed.later
    assert {closed.said["a stream"], closed.said["a datagram"]} == {"EAFNOSUPPORT"}
    assert {what for name, what in closed.said.items() if name.startswith(("datagrams", "raw"))} == {"EPERM"}


@pytest.mark.parametrize("kind", ["streams", "packets"])
def test_a_pair_is_connected_for_good(open_: Scene, closed: Scene, kind: str) -> None:
    for played in (open_, closed):
        pairs = {name: what for name, what in played.said.items() if name.startswith(kind)}
        assert pairs == {
            **{f"{kind}, a pair that connects{alone}": "EISCONN" for alone in ("", ", alone")},
            **{f"{kind}, a pair that listens{alone}": "EINVAL" for alone in ("", ", alone")},
        }


def test_ordinary_work_goes_on_without_them(closed: Scene) -> None:
    assert closed.work == ["PAIR", "loopback", "ann", "SH\n"], closed.done


def test_the_filter_closes_these_calls_and_no_other(closed: Scene) -> None:
    expected = {name: answer for name, (answer, _) in (ARGUMENTS | CLOSED).items()}
    assert closed.answers == expected

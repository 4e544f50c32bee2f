# SPDX-License-Identifier: Apache-2.0
"""Who reaches whom in restricted networks, by real packets; and each attempt once more without the rules."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.attacks.beyond import Attempt, Container, around, probe, stand, start
from tests.cluster.slurm import Cluster

There = dict[str, Container]


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[str]:
    """One that offers networks, with services around it."""
    cluster.cancel_all()
    cluster.wait_idle(cluster.node)
    with around(cluster):
        yield cluster.node
    assert cluster.left_on(cluster.node) == []


@pytest.fixture(scope="module")
def running(cluster: Cluster, node: str) -> Iterator[There]:
    """Two users' jobs: aa, bb and mm of the one, cc and nn of the other; mm and nn in `mirror`."""
    first, own = start(cluster, "ann", {"aa": "licenses", "bb": "licenses", "mm": "mirror"})
    second, others = start(cluster, "bob", {"cc": "licenses", "nn": "mirror"})
    yield own | others
    for job in (first, second):
        job.cancel()
        assert job.wait()["verdict"] == "clean"
    cluster.wait_idle(node)


@pytest.fixture
def there(cluster: Cluster, running: There) -> There:
    """The same, with rules that stand."""
    stand(cluster)
    return running


def node_addresses(cluster: Cluster) -> list[str]:
    return cluster.must(cluster.node, "hostname -I | tr ' ' '\\n' | grep -v : | grep -v '^198.18'").split()


LISTED: dict[str, Attempt] = {
    "a service by its name": ("tcp", "10.99.0.2", 27000),
    "a service in a range": ("tcp", "10.99.0.2", 27010),
    "a service of UDP": ("udp", "10.99.0.2", 5353),
}


def elsewhere(cluster: Cluster, there: dict[str, Container]) -> dict[str, Attempt]:
    """All that a container of `licenses` reaches for, and must not get, but for its own job's containers."""
    attempts: dict[str, Attempt] = {
        "another port of the host": ("tcp", "10.99.0.2", 6000),
        "the port behind the range": ("tcp", "10.99.0.2", 27021),
        "the port by UDP": ("udp", "10.99.0.2", 6000),
        "the UDP port's DNS": ("udp", "10.99.0.2", 53),
        "the host by ICMP": ("ping", "10.99.0.2", 0),
        "another host": ("tcp", "10.99.0.3", 27000),
        "another network's service": ("tcp", "10.99.0.3", 80),
        "metadata": ("tcp", "169.254.169.254", 80),
        "metadata by ICMP": ("ping", "169.254.169.254", 0),
        "the node's gateway address": ("tcp", there["aa"].gateway, 22222),
        "the gateway by UDP": ("udp", there["aa"].gateway, 6000),
        "the gateway by ICMP": ("ping", there["aa"].gateway, 0),
        "another network's gateway": ("tcp", there["nn"].gateway, 22222),
        "the node's address out there": ("tcp", "10.99.0.1", 22222),
        "slurmd": ("tcp", "10.99.0.1", 6818),
        "another job's container": ("tcp", there["cc"].address, 7000),
        "another job's, by ICMP": ("ping", there["cc"].address, 0),
        "another job's, in another network": ("tcp", there["nn"].address, 7000),
        "its own job's, in another network": ("tcp", there["mm"].address, 7000),
        "the server of dockerd's resolver": ("udp", "192.0.2.1", 53),
        "a name through dockerd's resolver": ("dns", "127.0.0.11", 53),
    }
    for address in node_addresses(cluster):
        attempts[f"the node at {address}"] = ("tcp", address, 22222)
        attempts[f"the node at {address} by ICMP"] = ("ping", address, 0)
    del attempts["slurmd"]  # it answers nobody who does not speak its language: by its own test
    return attempts


@contextmanager
def without(cluster: Cluster, *tables: str) -> Iterator[None]:
    """The same set-up without our rules."""
    cluster.must(cluster.node, "; ".join(f"nft delete table {table} slurm_hooks" for table in tables))
    try:
        yield
    finally:
        stand(cluster)


def reached(found: dict[str, bool]) -> set[str]:
    return {name for name, came in found.items() if came}


def test_a_container_reaches_the_listed_services_and_nothing_else(cluster: Cluster, node: str, there: There) -> None:
    closed = elsewhere(cluster, there)
    assert reached(probe(cluster, there["aa"].pid, LISTED | closed)) == set(LISTED)
    mirror = {name: one for name, one in (LISTED | closed).items() if one[1] != there["mm"].address}
    assert reached(probe(cluster, there["mm"].pid, mirror)) == {"another network's service"}
    with without(cluster, "inet", "bridge"):
        assert reached(probe(cluster, there["aa"].pid, closed)) == set(closed), "each fails for the rules' sake"
    assert reached(probe(cluster, there["aa"].pid, LISTED | closed)) == set(LISTED), "and they came back"


def test_slurmd_takes_no_connection_of_a_container(cluster: Cluster, node: str, there: There) -> None:
    port = cluster.must(node, "ss -Hltn | grep -o ':6818 ' | head -1").strip(" :\n")
    connect = f"import socket; socket.create_connection(('10.99.0.1', {port}), 2)"
    enter = f'nsenter --target {there["aa"].pid} --net python3 -c "{connect}"'
    assert cluster.sh(node, enter).status == 1
    with without(cluster, "inet", "bridge"):
        cluster.must(node, enter)


def test_containers_of_one_network_are_apart_with_and_without_bridge_netfilter(
    cluster: Cluster, node: str, there: There
) -> None:
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    before = cluster.sh(node, f"cat {switch}").out.strip()
    own: dict[str, Attempt] = {
        "its own job's": ("tcp", there["bb"].address, 7000),
        "its own job's, by ICMP": ("ping", there["bb"].address, 0),
    }
    try:
        for value in ("0", "1") if before else ("",):
            if value:
                cluster.must(node, f"echo {value} > {switch}")
            assert reached(probe(cluster, there["aa"].pid, own)) == set(), value
        if before:
            cluster.must(node, f"echo 0 > {switch}")
        with without(cluster, "bridge"):
            assert reached(probe(cluster, there["aa"].pid, own)) == set(own), "the bridge's rule alone does it"
    finally:
        if before:
            cluster.must(node, f"echo {before} > {switch}")


def test_frames_are_known_by_their_bridge_alone_where_the_kernel_tells_it(
    cluster: Cluster, node: str, there: There
) -> None:
    """NFT_BRIDGE_META; the rules by address would hide that this one does nothing."""
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    before = cluster.sh(node, f"cat {switch}").out.strip()
    own: dict[str, Attempt] = {"its own job's": ("tcp", there["bb"].address, 7000)}
    chain = "bridge slurm_hooks forward"
    try:
        cluster.must(node, f"nft flush chain {chain}; [ -z '{before}' ] || echo 0 > {switch}")
        assert reached(probe(cluster, there["aa"].pid, own)) == set(own)
        if cluster.sh(node, f"nft add rule {chain} meta ibrname '\"shn*\"' drop").status:
            pytest.skip("the kernel of this lab does not tell a frame's bridge")
        assert reached(probe(cluster, there["aa"].pid, own)) == set()
    finally:
        cluster.sh(node, f"[ -z '{before}' ] || echo {before} > {switch}")
        stand(cluster)


# What is sent to all on the bridge: the words that came, of those that were sent.
LISTENS = """
import os, socket, struct
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); line.bind(("0.0.0.0", 7001))
group = struct.pack("4s4s", socket.inet_aton("239.1.2.3"), bytes(4))
line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
os.mkfifo("/run/lab-called")
open("/run/lab-called").read()  # its end: all has been sent
line.settimeout(0.5)  # for ksoftirqd
try:
    while True: print(line.recv(99).decode())
except TimeoutError: pass
"""
CALLS = """
import socket, sys
for to in sys.argv[1:]:
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); line.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    try: line.sendto(to.encode(), (to, 7001))
    except OSError: pass
"""


def test_what_is_sent_to_all_on_a_bridge_comes_to_nobody(cluster: Cluster, node: str, there: There) -> None:
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    before = cluster.sh(node, f"cat {switch}").out.strip()
    everyone = ["255.255.255.255", f"{there['aa'].address.rpartition('.')[0]}.255", "239.1.2.3"]
    call = (
        f"rm -f /run/lab-called; nsenter --target {there['bb'].pid} --net python3 -c {shlex.quote(LISTENS)} & "
        "until [ -p /run/lab-called ]; do sleep 0.05; done; "
        f"nsenter --target {there['aa'].pid} --net python3 -c {shlex.quote(CALLS)} {' '.join(everyone)} "
        "> /run/lab-called; wait"
    )
    try:
        cluster.sh(node, f"[ ! -e {switch} ] || echo 0 > {switch}")
        assert cluster.must(node, call) == ""
        with without(cluster, "bridge"):
            assert sorted(cluster.must(node, call).split()) == sorted(everyone)
    finally:
        cluster.sh(node, f"rm -f /run/lab-called; [ -z '{before}' ] || echo {before} > {switch}")


def test_nobody_reaches_into_a_container(cluster: Cluster, node: str, there: There) -> None:
    inward: dict[str, Attempt] = {
        "its port": ("tcp", there["aa"].address, 7000), "ICMP": ("ping", there["aa"].address, 0)
    }  # fmt: skip
    for where in ("beyond", "node"):
        assert reached(probe(cluster, where, inward)) == set(), where
    with without(cluster, "inet", "bridge"):
        for where in ("beyond", "node"):
            assert reached(probe(cluster, where, inward)) == set(inward), where


def test_ipv6_is_not_there_and_would_not_pass(cluster: Cluster, node: str, there: There) -> None:
    one = there["aa"]
    enter = f"nsenter --target {one.pid} --net"
    shown = cluster.must(node, f"{enter} ip -6 -o address show; {enter} ip -6 route show dev eth0")
    assert [line.split()[3] for line in shown.splitlines()] in ([], ["::1/128"]), shown
    # Root gives it one all the same, and the bridge another.
    cluster.must(
        node,
        f"{enter} sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0;"
        f"sysctl -qw net.ipv6.conf.{one.bridge}.disable_ipv6=0;"
        f"{enter} ip -6 address add fd98::2/64 dev eth0 nodad; ip -6 address add fd98::1/64 dev {one.bridge} nodad;"
        f"{enter} ip -6 route add default via fd98::1",
    )
    attempts: dict[str, Attempt] = {
        "a host": ("tcp", "fd99::2", 27000), "the node": ("tcp", "fd98::1", 22222),
        "the node's other address": ("tcp", "fd99::1", 22222),
    }  # fmt: skip
    assert reached(probe(cluster, one.pid, attempts)) == set()
    with without(cluster, "inet", "bridge"):
        assert reached(probe(cluster, one.pid, attempts)) == set(attempts)


def test_a_network_that_is_offered_no_more_is_closed_to_those_who_are_in_it(
    cluster: Cluster, node: str, there: There
) -> None:
    with cluster.site(node, ""):
        cluster.must(node, "sed -i '/^.network/,$d' /etc/slurm-hooks/slurm-hooks.toml; slurm-hooks networks")
        assert reached(probe(cluster, there["aa"].pid, LISTED)) == set()
    stand(cluster)
    assert reached(probe(cluster, there["aa"].pid, LISTED)) == set(LISTED)

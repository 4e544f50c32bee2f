# SPDX-License-Identifier: Apache-2.0
"""What lies around a node with restricted networks, made of namespaces: a host beyond it, with services that answer.

    containers ── bridge ── node ── lab-out ── namespace `beyond`: 10.99.0.2, .3, 169.254.169.254, 192.0.2.1, fd99::2

Each address answers on every port that a test asks for, so that what does not come through is stopped by the rules.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.cluster.slurm import Cluster, Job

SITE = """
[network.licenses]
reach = ["license.example.test:27000/tcp", "10.99.0.2:27010-27020/tcp", "10.99.0.2:5353/udp"]
[network.mirror]
reach = ["10.99.0.3:80/tcp"]
"""
MAKE = """
exec 2>&1; set -eu
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding > /run/lab-forward
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip netns add beyond
ip link add lab-out type veth peer name eth0 netns beyond
sysctl -qw net.ipv6.conf.lab-out.disable_ipv6=0
ip address add 10.99.0.1/24 dev lab-out; ip address add fd99::1/64 dev lab-out nodad; ip link set lab-out up
in='ip -n beyond'
for one in 10.99.0.2/24 10.99.0.3/24 169.254.169.254/32 192.0.2.1/32; do $in address add $one dev eth0; done
$in address add fd99::2/64 dev eth0 nodad
$in link set lo up; $in link set eth0 up
$in route add default via 10.99.0.1; $in -6 route add default via fd99::1
ip route add 169.254.169.254/32 via 10.99.0.2; ip route add 192.0.2.1/32 via 10.99.0.2
cp /etc/hosts /run/lab-hosts; echo '10.99.0.2 license.example.test' >> /etc/hosts
rm -f /run/lab-heard; cat > /run/lab-serve.py
for where in 'ip netns exec beyond' ''; do
  setsid --fork $where /usr/bin/python3 -I /run/lab-serve.py $([ -n "$where" ] && echo beyond || echo node) \\
    </dev/null >/run/lab-serve.log 2>&1
done
"""
UNMAKE = """
for pid in $(cat /run/lab-serve.*.pid); do kill $pid; done
[ ! -e /run/lab-hosts ] || cat /run/lab-hosts > /etc/hosts
ip route del 169.254.169.254/32; ip route del 192.0.2.1/32
ip netns del beyond; ip link del lab-out 2>/dev/null
if [ -e /run/lab-forward ]; then
  { read four; read six; } < /run/lab-forward
  echo $four > /proc/sys/net/ipv4/ip_forward; echo $six > /proc/sys/net/ipv6/conf/all/forwarding
fi
rm -f /run/lab-serve* /run/lab-hosts /run/lab-forward /run/lab-heard
true
"""
PORTS = {"tcp": (80, 6000, 22222, 27000, 27010, 27021), "udp": (53, 5353, 6000)}
# Whoever asks is answered, and written down.
SERVE = f"""
import os, socket, sys, threading
HEARD = open("/run/lab-heard", "a")
def heard(*what): HEARD.write(" ".join((sys.argv[1], *map(str, what))) + "\\n"); HEARD.flush()
def stream(port):
    door = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    while True:
        line, who = door.accept()
        heard("tcp", port, who[0].removeprefix("::ffff:")); line.sendall(b"answer"); line.close()
def datagram(port):
    # On each address alone: an answer comes from where it was asked.
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); door.setsockopt(0, 8, 1); door.bind(("0.0.0.0", port))
    while True:
        data, more, _, who = door.recvmsg(2048, 64)
        heard("udp", port, who[0], data)
        door.sendmsg([data], [(0, 8, more[0][2])], 0, who)
for port in {PORTS["tcp"]}: threading.Thread(target=stream, args=(port,), daemon=True).start()
for port in {PORTS["udp"]}: threading.Thread(target=datagram, args=(port,), daemon=True).start()
open(f"/run/lab-serve.{{sys.argv[1]}}.pid", "w").write(f"{{os.getpid()}}\\n")
threading.Event().wait()
"""
# All at once, so that what gets no answer costs no more than the patience that a slow lab needs; True where one came.
PROBE = """
import concurrent.futures, json, os, socket, struct, sys
PATIENCE = 4.0
def tcp(host, port):
    with socket.create_connection((host, port), timeout=PATIENCE) as line: return bool(line.recv(16))
def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(PATIENCE); line.connect((host, port)); line.send(b"ask"); return bool(line.recv(16))
def ping(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as line:
        line.settimeout(PATIENCE)
        head = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
        line.sendto(struct.pack("!BBHHH", 8, 0, 0xFFFF - sum(struct.unpack("!4H", head)), 77, 1), (host, 0))
        while True:
            data, who = line.recvfrom(2048)
            if who[0] == host and data[20] == 0: return True  # else another attempt's, refused
def dns(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(PATIENCE); line.connect((host, 53))
        name = b"".join(bytes([len(part)]) + part for part in b"secret.example.test".split(b".")) + b"\\0"
        line.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1))
        try: line.recv(512)
        except OSError: pass
    return b"secret" in open("/run/lab-heard", "rb").read()
def came(kind, host, port):
    try: return globals()[kind](host, port)
    except OSError: return False
attempts = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(attempts)) as pool:
    print(json.dumps(dict(zip(attempts, pool.map(came, *zip(*attempts.values()))))))
"""
Attempt = tuple[str, str, int]  # tcp, udp, ping or dns; host; port


@contextmanager
def around(cluster: Cluster) -> Iterator[None]:
    """The node offers two networks, with all that it needs; put back afterwards."""
    node = cluster.node
    if why := cluster.sh(node, "printf 'table inet lab_probe\\n' | nft --check --file -").err:
        pytest.skip(f"nftables on {node}: {why.splitlines()[0]}")  # lab (b)'s kernel has NF_TABLES_INET not set
    cluster.sh(node, UNMAKE)
    cluster.must(node, MAKE, stdin=SERVE)
    try:
        cluster.wait(node, "[ -s /run/lab-serve.node.pid ] && [ -s /run/lab-serve.beyond.pid ]", "the services")
        cluster.must(node, "cat > /run/lab-probe.py", stdin=PROBE)
        with cluster.site(node, SITE):
            stand(cluster)
            yield
    finally:
        cluster.sh(node, UNMAKE)
        cluster.sh(node, "slurm-hooks networks")


def stand(cluster: Cluster) -> None:
    """The rules stand, and are known to."""
    cluster.must(cluster.node, "slurm-hooks networks")


def probe(cluster: Cluster, where: str, attempts: Mapping[str, Attempt]) -> dict[str, bool]:
    """What of it got an answer, from a place: a pid, `beyond` or `node`. As root, who may do more than a job."""
    enter = {"node": "", "beyond": "ip netns exec beyond"}.get(where, f"nsenter --target {where} --net")
    said = cluster.must(
        cluster.node,
        f": > /run/lab-heard; {enter} /usr/bin/python3 -I /run/lab-probe.py {shlex.quote(json.dumps(attempts))}",
    )
    found: dict[str, bool] = json.loads(said)
    return found


LISTEN = "nc -ll -p 7000 -e echo answer"


@dataclass
class Container:
    """One that runs in a job."""

    pid: str
    address: str
    gateway: str
    bridge: str


def start(cluster: Cluster, user: str, networks: dict[str, str]) -> tuple[Job, dict[str, Container]]:
    """A job with a listening container for each name, in a network."""
    stand(cluster)  # the broker believes what it was told for five minutes, and some labs are slow
    lines = [f"docker run -d --name {name} --network {network} img {LISTEN}" for name, network in networks.items()]
    job = cluster.sbatch("\n".join([*lines, "echo begun; sleep 600"]), user=user, options="--mem=200")
    job.wait_for_output("begun")
    form = "{{.State.Pid}}{{range .NetworkSettings.Networks}} {{.IPAddress}} {{.Gateway}} {{.NetworkID}}{{end}}"
    found = {}
    for name in networks:
        said = cluster.docker(cluster.node, f"inspect --format '{form}' slurm-{job.id}-0.{name}")
        assert said.status == 0, (said, job.output)
        pid, address, gateway, network = said.out.split()
        option = '{{index .Options "com.docker.network.bridge.name"}}'
        bridge = cluster.docker(cluster.node, f"network inspect --format '{option}' {network}").out.strip()
        found[name] = Container(pid, address, gateway, bridge)
    return job, found

# SPDX-License-Identifier: Apache-2.0
"""The loads, each a small program that runs in bob's job until it is cancelled, and the measuring beside it.

Each load is put on the broker, and the same on dockerd itself, which bob may use while it is measured. A lab has few
processors, which any program that computes shares with its neighbours: beside the idle node there is a second
yardstick, bob's job at an endless loop that does nothing to anybody ("spins").
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.cluster.slurm import Cluster

HEAD = """import os, socket, time
SOCKET = "{socket}"
FLAGS = {flags}
def connected():
    one = socket.socket(socket.AF_UNIX)
    one.connect(SOCKET)
    return one
open("loaded", "w").close()
"""
LOADS = {
    "spins": "while True: pass",
    "sleeps": "time.sleep(9999)",
    "connects and leaves": "while True: connected().close()",
    "2,000 connections, silent": """held = [connected() for _ in range(2000)]
time.sleep(9999)""",
    "1,000 half-sent requests": """held = []
for _ in range(1000):
    one = connected(); held.append(one)
    head = b"POST /containers/create HTTP/1.1\\r\\nHost: d\\r\\nContent-Length: 900000\\r\\n\\r\\n"
    try: one.sendall(head + b"x" * 60000)
    except OSError: pass
time.sleep(9999)""",
    "requests that are refused, 50 at once": """held = [connected() for _ in range(50)]
while True:
    for number, one in enumerate(held):
        try:
            one.sendall(b"GET /images/img/history HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n")
        except OSError: held[number] = connected()
    for number, one in enumerate(held):
        try:
            if one.recv(65536): continue
        except OSError: pass
        held[number] = connected()""",
    "one connection, request after request": """one = connected()
while True:
    one.sendall(b"GET /_ping HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n"); one.recv(65536)""",
    "a container that prints, an attach that never reads": """import subprocess
printing = ["img", "sh", "-c", "while :; do echo " + "x" * 4000 + "; done"]
held = subprocess.Popen(["docker", "-H", "unix://" + SOCKET, "run", *FLAGS, "--rm", *printing], stdout=subprocess.PIPE)
time.sleep(9999)""",
}
YARDSTICKS = ("sleeps", "spins")
WAITING = ("2,000 connections, silent", "1,000 half-sent requests")  # loads that wait rather than compute
MEASURE = """import subprocess, time
for _ in range({rounds}):
    begun = time.monotonic()
    status = subprocess.run(["docker", "run", "--rm", "img", "true"], capture_output=True).returncode
    print("TOOK", status, time.monotonic() - begun, flush=True)
"""
MOST_MEMORY = 64 * 1024  # KiB
BROKER = "/run/slurm-hooks/docker.sock"


@dataclass
class Beside:
    """What was seen beside a load."""

    load: str
    on: str  # broker, dockerd
    seconds: float  # median of `docker run --rm img true` in another job
    failed: int
    memory: int  # KiB, the broker's peak since it started


def broker_pid(cluster: Cluster) -> str:
    """The pid of the broker that serves."""
    return cluster.must(cluster.node, "pgrep -f 'slurm-hooks broker$' | tail -n 1").strip()


def memory(cluster: Cluster) -> int:
    """The broker's peak, KiB."""
    return int(cluster.must(cluster.node, f"awk '/VmHWM/ {{print $2}}' /proc/{broker_pid(cluster)}/status"))


def descriptors(cluster: Cluster) -> int:
    return int(cluster.must(cluster.node, f"ls /proc/{broker_pid(cluster)}/fd | wc -l"))


@contextmanager
def loaded(cluster: Cluster, name: str, door: str = "") -> Iterator[None]:
    """Bob's job under way with a load on the broker, or on dockerd through an open door."""
    cluster.must(cluster.node, "rm -f /home/bob/loaded")  # of the load before
    head = HEAD.replace("{socket}", door.removeprefix("unix://") or BROKER)
    head = head.replace("{flags}", repr(["--network", "none", "--log-opt", "max-size=8m"] if door else []))
    program = f"ulimit -n $(ulimit -Hn)\n/usr/bin/python3 -I - <<'END'\n{head}{LOADS[name]}\nEND"
    job = cluster.sbatch(program, user="bob", options="--mem=200")
    cluster.wait(cluster.node, "[ -e /home/bob/loaded ]", f"the load {name!r}")
    try:
        yield
    finally:
        job.cancel()
        job.wait()
        if door:
            left = cluster.docker(cluster.node, "ps -aq --filter ancestor=img").out.split()
            if left:  # of no job of ours: nobody else removes it
                cluster.docker(cluster.node, f"rm -f {' '.join(left)}")


def beside(cluster: Cluster, name: str, rounds: int, door: str = "") -> Beside:
    """Measure `docker run` in ann's job beside a load in bob's."""
    script = f"/usr/bin/python3 -I - <<'END'\n{MEASURE.format(rounds=rounds)}END"
    with loaded(cluster, name, door):
        done = cluster.srun(script, options="--mem=200", timeout=300)
    took = [line.split()[1:] for line in done.out.splitlines() if line.startswith("TOOK")]
    assert len(took) == rounds, done
    failed = sum(status != "0" for status, _ in took)
    seconds = statistics.median(float(seconds) for _, seconds in took)
    return Beside(name, "dockerd" if door else "broker", seconds, failed, memory(cluster))


def settled(cluster: Cluster, before: int, within: float = 20.0) -> int:
    """The broker's descriptors when they are as few as before, or after some seconds."""
    deadline = time.monotonic() + within
    while (now := descriptors(cluster)) > before and time.monotonic() < deadline:
        time.sleep(0.5)
    return now


def as_json(seen: list[Beside]) -> str:
    return json.dumps([asdict(one) for one in seen], indent=2) + "\n"

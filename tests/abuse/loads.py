# SPDX-License-Identifier: Apache-2.0
"""The loads, each a small program that runs until it is ended, and the measuring beside it.

A load runs in bob's job and comes to his own socket, or to everybody's, or is started by bob outside of any job. The
same load is put on dockerd itself, which bob may use while it is measured. A lab has few processors, which any program
that computes shares with its neighbours: beside the idle node there is a second yardstick, bob's job at an endless loop
that does nothing to anybody ("spins").
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
SOCKET = "{socket}" or os.environ["DOCKER_HOST"].removeprefix("unix://")
FLAGS = {flags}
def connected():
    one = socket.socket(socket.AF_UNIX)
    one.connect(SOCKET)
    return one
open("/home/bob/loaded", "w").close()
"""
CONNECTS = "while True: connected().close()"
CONNECTS_FROM_FOUR = f"os.fork(); os.fork()\n{CONNECTS}"
EVERYBODYS = "/run/slurm-hooks/docker.sock"


@dataclass(frozen=True)
class Load:
    """A program; what it does to the broker, and what it costs the node by itself."""

    name: str
    program: str
    waits: bool = False  # rather than computes: then it is compared with the idle node
    goes_on: bool = False  # through us to dockerd, so that it is compared with itself on dockerd alone
    socket: str = ""  # "": the user's own
    outside: bool = False  # of any job
    processes: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def yardstick(self) -> Load:
        """What costs the node as much, and does nothing to us."""
        if self.waits:
            return SLEEPS
        return SPINS if self.processes == 1 else SPINS_FROM_FOUR


SLEEPS = Load("sleeps", "time.sleep(9999)", waits=True)
SPINS = Load("spins", "while True: pass")
SPINS_FROM_FOUR = Load("spins, 4 processes", "os.fork(); os.fork()\nwhile True: pass", processes=4)
CONNECTS_AND_LEAVES = Load("connects and leaves", CONNECTS)
SILENT = Load(
    "2,000 connections, silent",
    """held = [connected() for _ in range(2000)]
time.sleep(9999)""",
    waits=True,
)
HALF_SENT = Load(
    "1,000 half-sent requests",
    """held = []
for _ in range(1000):
    one = connected(); held.append(one)
    head = b"POST /containers/create HTTP/1.1\\r\\nHost: d\\r\\nContent-Length: 900000\\r\\n\\r\\n"
    try: one.sendall(head + b"x" * 60000)
    except OSError: pass
time.sleep(9999)""",
    waits=True,
)
LOADS = (
    CONNECTS_AND_LEAVES,
    Load("connects and leaves, at everybody's socket", CONNECTS, socket=EVERYBODYS),
    Load("connects and leaves, 4 processes", CONNECTS_FROM_FOUR, processes=4),
    Load("connects and leaves, of no job", CONNECTS, socket=EVERYBODYS, outside=True),
    SILENT,
    HALF_SENT,
    Load(
        "requests that are refused, 50 at once",
        """held = [connected() for _ in range(50)]
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
    ),
    Load(
        "one connection, request after request",
        """one = connected()
while True:
    one.sendall(b"GET /_ping HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n"); one.recv(65536)""",
    ),
    Load(
        "a container that prints, an attach that never reads",
        """import subprocess
printing = ["img", "sh", "-c", "while :; do echo " + "x" * 4000 + "; done"]
held = subprocess.Popen(["docker", "-H", "unix://" + SOCKET, "run", *FLAGS, "--rm", *printing], stdout=subprocess.PIPE)
time.sleep(9999)""",
        goes_on=True,
    ),
    Load(
        "a container that prints, an attach that reads",
        """import subprocess
printing = ["img", "yes", "x" * 100]
subprocess.run(["docker", "-H", "unix://" + SOCKET, "run", *FLAGS, "--rm", *printing], stdout=subprocess.DEVNULL)""",
        goes_on=True,
    ),
)
PRINTS = """line=$(head -c 8000 /dev/zero | tr '\\000' x)
echo "PRINTED $(docker run --rm img sh -c "yes $line | head -c {size}" | wc -c)" """
MEASURE = """import subprocess, time
for _ in range({rounds}):
    begun = time.monotonic()
    try:
        one = subprocess.run(["docker", "run", "--rm", "img", "true"], capture_output=True, timeout=30, text=True)
        status, why = one.returncode, one.stderr.strip()
    except subprocess.TimeoutExpired:
        status, why = "hangs", "30 s"
    print("TOOK", status, time.monotonic() - begun, why, flush=True)
"""
MOST_MEMORY = 64 * 1024  # KiB


@dataclass
class Beside:
    """What was seen beside a load."""

    load: str
    on: str  # broker, dockerd
    seconds: float  # median of `docker run --rm img true` in another job
    failed: list[str]  # their words
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
def loaded(cluster: Cluster, load: Load, door: str = "") -> Iterator[None]:
    """A load under way on the broker, or on dockerd through an open door."""
    cluster.must(cluster.node, "rm -f /home/bob/loaded")  # of the load before
    head = HEAD.replace("{socket}", door.removeprefix("unix://") or load.socket)
    head = head.replace("{flags}", repr(["--network", "none", "--log-opt", "max-size=8m"] if door else []))
    program = f"ulimit -n $(ulimit -Hn)\n/usr/bin/python3 -I - <<'END'\n{head}{load.program}\nEND"
    job = None
    if load.outside:
        cluster.must(cluster.node, "cat > /home/bob/load.sh", stdin=program)
        cluster.must(cluster.node, "setsid --fork sh /home/bob/load.sh > /dev/null 2>&1", user="bob")
    else:
        job = cluster.sbatch(program, user="bob", options="--mem=200")
    cluster.wait(cluster.node, "[ -e /home/bob/loaded ]", f"the load {load.name!r}")
    try:
        yield
    finally:
        if job is None:
            cluster.sh(cluster.node, "pkill -KILL -u bob")
        else:
            job.cancel()
            job.wait()
        if door:
            left = cluster.docker(cluster.node, "ps -aq --filter ancestor=img").out.split()
            if left:  # of no job of ours: nobody else removes it
                cluster.docker(cluster.node, f"rm -f {' '.join(left)}")


def beside(cluster: Cluster, load: Load, rounds: int, door: str = "") -> Beside:
    """Measure `docker run` in ann's job beside a load of bob's."""
    script = f"/usr/bin/python3 -I - <<'END'\n{MEASURE.format(rounds=rounds)}END"
    with loaded(cluster, load, door):
        done = cluster.srun(script, options="--mem=200", timeout=60 + 32 * rounds)
    took = [line.split(maxsplit=3)[1:] for line in done.out.splitlines() if line.startswith("TOOK")]
    assert len(took) == rounds, done
    failed = [" ".join((status, *why)) for status, _, *why in took if status != "0"]
    seconds = statistics.median(float(seconds) for _, seconds, *_ in took)
    return Beside(load.name, "dockerd" if door else "broker", seconds, failed, memory(cluster))


def printed(cluster: Cluster, size: int) -> tuple[int, float]:
    """A container prints `size` bytes to its attached client: (the bytes that came, seconds)."""
    begun = time.monotonic()
    done = cluster.srun(PRINTS.format(size=size), options="--mem=200", timeout=900)
    return int(done.out.split("PRINTED")[1]), time.monotonic() - begun


def settled(cluster: Cluster, before: int, within: float = 20.0) -> int:
    """The broker's descriptors when they are as few as before, or after some seconds."""
    deadline = time.monotonic() + within
    while (now := descriptors(cluster)) > before and time.monotonic() < deadline:
        time.sleep(0.5)
    return now


def as_json(seen: list[Beside]) -> str:
    return json.dumps([asdict(one) for one in seen], indent=2) + "\n"

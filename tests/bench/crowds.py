# SPDX-License-Identifier: Apache-2.0
"""What others cost: an epilog among foreign containers, an epilog of a fork bomb, and a job beside one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.containers import DOCKERD, ended, filled
from tests.bench.figures import Bar, Figure
from tests.bench.hooks import FIRST, in_step, running_job
from tests.cluster.slurm import Cluster
from tests.cluster.test_limits import pids

FOREIGN = "bench-foreign"
AT_MOST = Bar(more=0.150)  # seconds that an epilog of few containers may take beside dockerd's own
BOMB = "f() { f | f & }; f"  # all of it forks, and nothing else
PIDS = 4096
FULL = PIDS - 400  # a bomb at its limit loses the shells that could not fork, so it swings below it
WORK = """/usr/bin/python3 -I -c '
import json, time
begun = time.perf_counter()
for number in range(8_000_000): number * number
print(json.dumps({"seconds": [time.perf_counter() - begun]}))'"""
SPINS = "while :; do :; done"
EXPLODES = f"docker run -d --pids-limit {PIDS} img sh -c '{BOMB}; sleep 600'; sleep 600"


@contextmanager
def foreign(cluster: Cluster, number: int) -> Iterator[None]:
    """Idle containers on the node that are nobody's job."""
    docker = f"docker -H unix://{DOCKERD}"
    start = f"{docker} run -d --network none --label {FOREIGN} img sleep 86400"
    try:
        cluster.must(cluster.node, f"seq {number} | xargs -P 4 -n 1 sh -c '{start} >/dev/null' sh", timeout=900)
        yield
    finally:
        cluster.must(
            cluster.node, f"{docker} ps -aq --filter label={FOREIGN} | xargs -r -n 50 {docker} rm -f", timeout=900
        )


def among(cluster: Cluster, number: int, rounds: int) -> Iterator[Figure]:
    """The epilog of one container with so many foreign ones beside it, against none: some rounds before, some after.

    And dockerd's removal alone, which is what grows: for each of its unmounts it reads the node's table of mounts. So
    the bar is what ours takes beside it.
    """
    none = _ended(cluster, FIRST + 500_000, rounds // 2)
    with foreign(cluster, number):
        some = _ended(cluster, FIRST + 510_000, rounds)
    more = _ended(cluster, FIRST + 520_000, rounds - rounds // 2)
    quiet = {side: (*none[side], *more[side]) for side in none}
    yield Figure(f"epilog of 1 among {number} foreign / among none", some["ours"], quiet["ours"])
    yield Figure(f"docker rm -f of 1 among {number} foreign / among none", some["theirs"], quiet["theirs"])
    yield Figure(f"epilog of 1 / docker rm -f of 1, among {number} foreign", some["ours"], some["theirs"], AT_MOST)


def _ended(cluster: Cluster, first: int, rounds: int) -> dict[str, tuple[float, ...]]:
    sides = ("ours", "theirs")
    found = [[ended(cluster, 1, side=side, job=first + 2 * turn + at) for at, side in enumerate(sides)]
             for turn in range(rounds)]  # fmt: skip
    return dict(zip(sides, zip(*found, strict=True), strict=True))


def bombs(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """The epilog of a container that is a fork bomb at its limit against that of a quiet one."""
    first = FIRST + 600_000
    run = f'-d --pids-limit {PIDS} img sh -c "{BOMB}; sleep 600"'
    times: dict[str, list[float]] = {"bomb": [], "quiet": []}
    for turn in range(rounds):
        for side in ("bomb", "quiet") if turn % 2 == 0 else ("quiet", "bomb"):
            job = first + 2 * turn + (side == "bomb")
            with filled(cluster, 1, job, run if side == "bomb" else "-d img sleep 600") as epilog:
                if side == "bomb":
                    count = "cat /sys/fs/cgroup/pids{0}/pids.current /sys/fs/cgroup{0}/pids.current 2>/dev/null"
                    wanted = f"[ $({count.format(epilog.cgroup)} | head -n 1) -ge {FULL} ]"
                    cluster.wait(cluster.node, wanted, "a bomb at its limit")
                times[side].append(epilog.seconds())
    yield Figure(
        f"epilog of a fork bomb of {PIDS} / of one sleep", tuple(times["bomb"]), tuple(times["quiet"]), Bar(more=1.0)
    )


def beside(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """A job's own work while another job of the node is a fork bomb, each on a core of its own, against before it.

    And beside a job that spins: what two busy cores of this machine cost each other without us.
    """
    times: dict[str, list[float]] = {"before": [], "spins": [], "bomb": []}
    with running_job(cluster, "-n1 --mem=200") as neighbour:
        in_step(neighbour, WORK)
        for _ in range(rounds):
            times["before"] += in_step(neighbour, WORK)["seconds"]
            for side, script in (("spins", SPINS), ("bomb", EXPLODES)):
                other = cluster.sbatch(f"echo started; {script}", user="bob", options="-n1 --mem=3000")
                other.wait_for_output("started")
                if side == "bomb":
                    now = pids(cluster, other, "current")
                    cluster.wait(cluster.node, f"[ $(cat {now}) -ge {FULL} ]", "a bomb at its limit")
                times[side] += in_step(neighbour, WORK)["seconds"]
                other.cancel()
                other.wait()
    before, spins, bomb = (tuple(times[side]) for side in ("before", "spins", "bomb"))
    yield Figure("a job's work beside a job that spins / before it", spins, before)
    yield Figure("a job's work beside a fork bomb / before it", bomb, before, Bar(ratio=1 / 0.95))
    yield Figure("a job's work beside a fork bomb / beside a job that spins", bomb, spins)

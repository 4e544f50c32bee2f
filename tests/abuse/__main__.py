# SPDX-License-Identifier: Apache-2.0
"""`make abuse`: what one job's loads do to another's `docker run`; build/abuse.json; status 1 where a bar is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.abuse.loads import (
    LOADS,
    MOST_MEMORY,
    Beside,
    Load,
    as_json,
    beside,
    descriptors,
    printed,
    settled,
)  # fmt: skip
from tests.bench.containers import open_door
from tests.cluster.slurm import Cluster
from tests.labs import lab_named

IDLE_BAR, DOCKERD_BAR = 1.5, 1.15
PRINTED = 10 * 10**9  # bytes
HEAD = f"  {'load':52} {'yardstick':19} {'took':>8} {'beside':>8} {'ratio':>6} {'at dockerd':>11} {'broker':>8}"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.abuse",
        description="Loads of one job on the broker, and another job's docker run beside them.",
        epilog="example: python3 -m tests.abuse --lab uml --rounds 5",
    )
    parser.add_argument("--lab", default="compose", choices=("compose", "uml"), help="where (default: compose)")
    parser.add_argument("--rounds", type=int, default=9, help="docker runs beside each load (default: 9)")
    parser.add_argument("--only", default="", metavar="WORDS", help="the loads whose name has these, and no print")
    asked = parser.parse_args()
    lab = lab_named(asked.lab)
    lab.up()
    cluster = Cluster(lab)
    cluster.wait_idle(cluster.node)
    cluster.srun("docker run --rm img true; docker run --rm img true")  # so that what is made once is made
    before = descriptors(cluster)
    print(HEAD, flush=True)
    with open_door(cluster, cluster.node, group="bob") as door:
        seen, good = [], True
        # With its yardstick and itself at dockerd, one after the other: a machine has its moods.
        for load in (load for load in LOADS if asked.only in load.name):
            yardstick = beside(cluster, load.yardstick, asked.rounds)
            ours, theirs = (beside(cluster, load, asked.rounds, where) for where in ("", door))
            seen += [yardstick, ours, theirs]
            good = _line(load, yardstick, ours, theirs) and good
    whole = True
    if not asked.only:
        came, seconds = printed(cluster, PRINTED)
        whole = came == PRINTED
        print(f"{'✓' if whole else '✗'} {came / 1e9:.1f} GB printed to an attached client in {seconds:.0f} s")
    after = settled(cluster, before)
    print(f"{'✓' if after <= before else '✗'} descriptors of the broker: {before} before, {after} after")
    left = cluster.left_on(cluster.node)
    print(f"{'✗' if left else '✓'} nothing of the jobs is left {left or ''}".rstrip())
    Path("build").mkdir(exist_ok=True)
    Path("build/abuse.json").write_text(as_json(seen))
    return 0 if good and whole and after <= before and not left else 1


def _line(load: Load, yardstick: Beside, ours: Beside, theirs: Beside) -> bool:
    good = (
        (load.goes_on or ours.seconds / yardstick.seconds <= IDLE_BAR)
        and ours.seconds / theirs.seconds <= DOCKERD_BAR
        and not ours.failed
        and ours.memory < MOST_MEMORY
    )
    print(
        f"{'✓' if good else '✗'} {load.name:52} {yardstick.load:19} {yardstick.seconds:6.2f} s {ours.seconds:6.2f} s "
        f"{ours.seconds / yardstick.seconds:6.2f} {ours.seconds / theirs.seconds:11.2f} {ours.memory / 1024:4.0f} MiB"
        + (f"  {len(ours.failed)} failed: {ours.failed[0]}" if ours.failed else "")
        + (f"  ({len(theirs.failed)} failed there: {theirs.failed[0]})" if theirs.failed else ""),
        flush=True,
    )
    return good


if __name__ == "__main__":
    sys.exit(main())

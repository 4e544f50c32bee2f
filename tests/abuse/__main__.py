# SPDX-License-Identifier: Apache-2.0
"""`make abuse`: a table of the loads, build/abuse.json, and status 1 where a bar is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.abuse.loads import LOADS, MOST_MEMORY, ON_US, WAITING, Beside, as_json, beside, descriptors, settled
from tests.cluster.slurm import Cluster
from tests.labs import lab_named

BAR = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.abuse")
    parser.add_argument("--lab", default="compose", choices=("compose", "uml"))
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    lab = lab_named(asked.lab)
    lab.up()
    cluster = Cluster(lab)
    cluster.wait_idle(cluster.node)
    cluster.srun("docker run --rm img true")  # so that what is made once is made
    before = descriptors(cluster)
    seen: dict[str, Beside] = {}
    missed = False
    for name in LOADS:
        one = seen[name] = beside(cluster, name, asked.rounds)
        yardstick = seen["sleeps" if name in WAITING else "spins"] if name in ON_US else one
        ratio = one.seconds / yardstick.seconds
        good = ratio <= BAR and not one.failed and one.memory < MOST_MEMORY
        missed = missed or not good
        print(
            f"{'✓' if good else '✗'} {name:52} {one.seconds:6.2f} s  {ratio:5.2f} of {yardstick.load:7}"
            f" {one.failed} failed  broker {one.memory / 1024:.0f} MiB",
            flush=True,
        )
    after = settled(cluster, before)
    missed = missed or after > before
    print(f"{'✓' if after <= before else '✗'} descriptors of the broker: {before} before, {after} after")
    Path("build/abuse.json").write_text(as_json(list(seen.values())))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

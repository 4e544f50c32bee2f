# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.bench`: measure, print, write build/bench.json, and say whether the bars are met."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.containers import attached, docker_run, epilogs, many_ps, roomy
from tests.bench.crowds import AT_MOST, among, beside, bombs
from tests.bench.figures import Bar, Figure, table
from tests.bench.hooks import hooks
from tests.bench.jobs import srun
from tests.cluster.slurm import Cluster
from tests.labs.base import LabMissing
from tests.labs.compose import ROOT, Compose


def at_a_roomy_site(cluster: Cluster, figures: Iterator[Figure]) -> Iterator[Figure]:
    """Take figures where jobs may have many containers, and processes in them."""
    with roomy(cluster):
        yield from figures


BENCHES: dict[str, Callable[[Cluster], Iterator[Figure]]] = {
    "hooks": lambda cluster: hooks(cluster, 101),
    "srun": lambda cluster: srun(cluster, 31),
    "docker-run": lambda cluster: docker_run(cluster, 31),
    "attached": lambda cluster: attached(cluster, 7),
    "ps": lambda cluster: many_ps(cluster, 9),
    "epilog-1": lambda cluster: epilogs(cluster, 1, 15, AT_MOST),
    "epilog-10": lambda cluster: epilogs(cluster, 10, 9, AT_MOST),
    "epilog-50": lambda cluster: epilogs(cluster, 50, 5, Bar(ratio=1.1)),
    "epilog-200": lambda cluster: at_a_roomy_site(cluster, epilogs(cluster, 200, 3, Bar(ratio=1.1))),
    "epilog-bomb": lambda cluster: at_a_roomy_site(cluster, bombs(cluster, 5)),
    "beside-bomb": lambda cluster: at_a_roomy_site(cluster, beside(cluster, 9)),
    "among-500": lambda cluster: among(cluster, 500, 9),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python3 -m tests.bench",
        description="What slurm-hooks costs, as paired ratios from one run on lab (a). Exit 1: a bar is not met.",
        epilog="example: python3 -m tests.bench --only hooks --only docker-run",
    )
    top.add_argument("--only", action="append", choices=BENCHES, help="one part of it; may be given again")
    top.add_argument("--json", action="store_true", help="print what is written to build/bench.json, and no table")
    return top


def main() -> int:
    """Run the benches that were asked for; the exit status."""
    wish = parser().parse_args()
    lab = Compose()
    try:
        lab.up()
    except LabMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    figures: list[Figure] = []
    try:
        for name in wish.only or BENCHES:
            print(f"bench: {name} …", file=sys.stderr, flush=True)
            for figure in BENCHES[name](Cluster(lab)):
                figures.append(figure)
                print(f"  {figure.name}: {figure.ratio:.2f}", file=sys.stderr, flush=True)
    finally:  # what was measured before something went wrong is worth to be read
        written(figures)
        print(json.dumps([figure.to_json() for figure in figures], indent=1) if wish.json else table(figures))
    return 0 if all(figure.met for figure in figures) else 1


def written(figures: list[Figure]) -> None:
    """Into build/bench.json, where a figure takes the place of one of its name."""
    file = Path(ROOT) / "build" / "bench.json"
    file.parent.mkdir(exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else []
    found = {figure["name"]: figure for figure in (*before, *(figure.to_json() for figure in figures))}
    file.write_text(json.dumps([*found.values()], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

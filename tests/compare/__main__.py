# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.compare`: the table of docs/security.md, from a node of a lab as it is now.

Left: root's `docker run` on the jobs' dockerd, whose no-new-privileges is taken back for it, so that it is Docker's
own default. That dockerd has no bridge: an ordinary one gives an eth0 too. Right: the same in a job of ann's.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.cluster.slurm import Cluster
from tests.compare.facts import PROBE, rows, table
from tests.labs import lab_named
from tests.labs.base import LabMissing

QUOTED = f"'{PROBE.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'"


def compared(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """The facts of both, and of the node beside them."""
    plain = cluster.docker(cluster.node, f"run --rm --security-opt no-new-privileges=false img sh -c {QUOTED}")
    ours = cluster.srun(f"docker run --rm img sh -c {QUOTED}", options="--mem=300")
    node = cluster.must(cluster.node, f"sh -c {QUOTED}")
    for done in (plain, ours):
        assert done.status == 0, done
    return rows(plain.out, ours.out, node)


def main() -> int:
    """Compare, print; the exit status."""
    top = argparse.ArgumentParser(
        prog="python3 -m tests.compare",
        description="What plain docker run gives a program and what a job's gets, read from the kernel inside.",
        epilog="example: python3 -m tests.compare --lab uml --json",
    )
    top.add_argument("--lab", default="compose", choices=("compose", "uml"), help="where; default: compose")
    top.add_argument("--json", action="store_true", help="for programs")
    wish = top.parse_args()
    lab = lab_named(wish.lab)
    try:
        lab.up()
    except LabMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    found = compared(Cluster(lab))
    print(json.dumps({name: dict(zip(("plain", "ours"), both, strict=True)) for name, both in found.items()}, indent=1)
          if wish.json else table(found))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())

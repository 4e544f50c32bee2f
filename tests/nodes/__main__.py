# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.nodes`: the suite on each node of the matrix (tests/labs/cells.py), two a processor at a time.

On a node as it comes that is all of it, but for what no kernel decides; on the others what a setting may touch: where
jobs and containers are placed, their limits, their end, and attacks. `--short` is a look at each release, for
`make test`: installed, jobs and containers, what a sweep ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import Queue

from tests.labs.cells import CELLS, Cell
from tests.labs.machine import NodeLost
from tests.labs.packaged import packaged
from tests.nodes import table

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "nodes"
LAST = "tests/cluster/test_packaged.py"  # all else, a reboot among it, leaves more to purge
CLUSTER = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("tests/cluster/test_*.py"))
WHOLE = (*(file for file in CLUSTER if file != LAST), "tests/attacks", LAST)
PART = (
    "tests/cluster/test_job.py",
    "tests/cluster/test_container.py",
    "tests/cluster/test_limits.py",
    "tests/cluster/test_teardown.py",
    "tests/attacks/test_escapes.py",
)
SHORT = ("tests/cluster/test_job.py", "tests/cluster/test_container.py", "tests/cluster/test_sweep.py")
# What one setting is about has tests of its own,
OWN = {
    "devices": ("tests/cluster/test_gres.py",),
    "v1": ("tests/cluster/test_gres.py",),
    # What the broker looks for in an image, and what lies elsewhere then.
    "containerd-store": (
        "tests/cluster/test_identity.py",
        "tests/cluster/test_images.py",
        "tests/cluster/test_packaged.py",
        "tests/cluster/test_root_inside.py",
        "tests/cluster/test_teardown_dockerd.py",
        "tests/attacks/test_hostile_images.py",
    ),
}
# or these alone.
ALONE = {
    "networks": ("tests/cluster/test_holding.py", "tests/cluster/test_networks.py", "tests/attacks/test_networks.py")
}
VERSIONS = "slurmd -V; docker --version; runc --version | head -n 1; systemctl --version | head -n 1"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: each cell passed."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.nodes", description=__doc__, epilog="example: %(prog)s 22.05 26.05-alloc"
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help="default: all; --list has their names")
    parser.add_argument("--list", action="store_true", help="print the names, and end")
    parser.add_argument("--short", action="store_true", help="of nodes as they come, little; not for the table")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    asked = parser.parse_args(arguments)
    names = {cell.name: cell for cell in CELLS}
    if asked.list:
        print("\n".join(names))
        return 0
    if unknown := set(asked.cells) - set(names):
        parser.error(f"no cell {', '.join(sorted(unknown))}; --list has their names")
    cells = [names[name] for name in asked.cells] or [cell for cell in CELLS if not (asked.short and cell.change)]
    BUILD.mkdir(parents=True, exist_ok=True)
    results = run(cells, SHORT if asked.short else ())
    if asked.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    # In a lab that cannot run here the short form is skipped, as in others; where CI is set that fails.
    ran = all(result.passed or (asked.short and result.skipped) for result in results)
    return 0 if ran and not any(result.failed for result in results) else 1


def run(cells: Sequence[Cell], instead: Sequence[str] = ()) -> list[table.Result]:
    """The tests of each cell, or these instead. Two cells a processor, since a suite mostly waits for Slurm. Those that
    are emulated come first, one after the other, beside a single other cell: their several processors wait for each
    other, and where they have no time of the machine's that is all they do. Then in the order that they are given: the
    longest, nodes as they come, are not to be the last."""
    slots = 2 * len(os.sched_getaffinity(0))
    free: Queue[int] = Queue()
    for slot in range(slots):
        free.put(slot)
    done, said = [0], threading.Lock()

    def in_turn(lane: Sequence[Cell], taken: Sequence[int]) -> list[table.Result]:
        try:
            return [one(cell, taken[0]) for cell in lane]
        finally:
            for slot in taken:
                free.put(slot)

    def one(cell: Cell, slot: int) -> table.Result:
        result = _run(cell, slot, instead or _tests(cell))
        with said:
            done[0] += 1
            if not instead:
                table.write([result])  # at once: a run that is broken off has not been for nothing
            print(f"{done[0]:2} of {len(cells)}  {cell.name:24} {result.words}, {result.seconds:.0f} s", flush=True)
            if result.failed or not result.passed:
                print((BUILD / f"{cell.name}.log").read_text(), flush=True)
        return result

    emulated = [cell for cell in cells if cell.stock]
    lanes = [(emulated, max(slots - 1, 1))] * bool(emulated) + [([cell], 1) for cell in cells if not cell.stock]
    with ThreadPoolExecutor(slots) as pool:
        # Slots are taken here: threads that wait for one get it in no order.
        running = [pool.submit(in_turn, lane, [free.get() for _ in range(width)]) for lane, width in lanes]
        return [result for lane in running for result in lane.result()]


def _tests(cell: Cell) -> Sequence[str]:
    return ALONE.get(cell.change, PART + OWN.get(cell.change, ())) if cell.change else WHOLE


def _run(cell: Cell, slot: int, paths: Sequence[str]) -> table.Result:
    report = BUILD / f"{cell.name}.xml"
    report.unlink(missing_ok=True)
    timeout = 2400 if cell.stock else 300
    options = (
        "-q",
        "-rsfE",
        "--durations=15",
        f"--timeout={timeout}",
        f"--lab=node-{cell.name}",
        f"--junit-xml={report}",
    )
    began = time.monotonic()
    with open(BUILD / f"{cell.name}.log", "w") as log:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, "-m", "not anywhere", *paths],
            cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"SLURM_HOOKS_PROCESSOR": str(slot)},
        )  # fmt: skip
    node = packaged(cell)
    try:
        versions = node.sh(node.controller, VERSIONS).out.splitlines()
    except NodeLost:
        versions = []
    node.down()
    counted = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        suite = ElementTree.parse(report).getroot()[0]
        counted = {name: int(suite.get(name, "0")) for name in counted}
    failed = counted["failures"] + counted["errors"]
    passed = counted["tests"] - failed - counted["skipped"]
    return table.Result(cell.suite, cell.change, passed, failed, counted["skipped"], time.monotonic() - began, versions)


if __name__ == "__main__":
    sys.exit(main())

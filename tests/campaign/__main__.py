# SPDX-License-Identifier: Apache-2.0
"""`make faults`: rounds of jobs and faults, an audit after each; build/faults-<lab>.jsonl; exit 1 on any violation."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tests.campaign import plan, results
from tests.campaign.verdict import violations
from tests.labs import lab_named
from tests.labs.base import Done, Lab

ROUND_SECONDS = 400.0  # the most that one takes, with what must be brought to its end
MANY = {"compose": 10, "uml": 3}  # containers of the shape `many`


def main() -> int:
    """The exit status."""
    asked = _arguments()
    path = Path(f"build/faults-{asked.lab}.jsonl")
    if asked.table:
        rows = results.read(path)
        print(f"{results.table(rows)}\n\n{results.summary(rows)}")
        return 1 if any(row["violations"] for row in rows) else 0
    return 1 if campaign(asked, path) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.campaign",
        description="Jobs, faults at each of their steps, and after each a look at the node that shares no code with "
        "the product. Resumable: a round of a seed that is in build/faults-LAB.jsonl is not done again.",
        epilog="example: python3 -m tests.campaign --lab uml --rounds 200 --seed 5 --minutes 60; "
        "python3 -m tests.campaign --lab uml --table",
    )
    parser.add_argument("--lab", default="compose", choices=tuple(plan.ABSENT), help="where (default: compose)")
    parser.add_argument("--rounds", type=int, default=60, help="up to that number of the seed (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default: 1)")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after these (default: 60)")
    parser.add_argument("--fault", default="", metavar="NAMES", help=f"only these: {','.join(plan.FAULTS)}")
    parser.add_argument("--step", default="", metavar="NAMES", help=f"only these: {','.join(plan.STEPS)}")
    parser.add_argument("--shape", default="", metavar="NAMES", help=f"only these: {','.join(plan.SHAPES)}")
    parser.add_argument("--many", type=int, default=0, help="containers of the shape `many` (default: 10; uml: 3)")
    parser.add_argument("--table", action="store_true", help="run nothing, print the sum of all seeds")
    return parser.parse_args()


def campaign(asked: argparse.Namespace, path: Path) -> list[str]:
    """Run it; all violations."""
    lab = lab_named(asked.lab)
    with suppress(Exception):  # a campaign that was broken off has left its jobs, and a lab is up once it is idle
        on_node(lab, "innocents", "")
    lab.up()
    try:
        return _played_all(lab, asked, path)
    finally:
        on_node(lab, "innocents", "")


def _played_all(lab: Lab, asked: argparse.Namespace, path: Path) -> list[str]:
    deadline = time.monotonic() + asked.minutes * 60
    before = results.done(results.read(path), asked.seed)
    wanted = {name: set(filter(None, getattr(asked, name).split(","))) for name in ("fault", "step", "shape")}
    rows = []
    for round_ in plan.rounds(asked.lab, asked.seed):
        if round_.number >= asked.rounds or time.monotonic() > deadline:
            break
        if round_.number in before or any(
            names and getattr(round_, name) not in names for name, names in wanted.items()
        ):
            continue
        rows.append(row := played(lab, round_, asked.many or MANY[asked.lab]))
        results.append(path, row)
        print(line_of(row), flush=True)
        if any(one.startswith("broken: lab") for one in row["violations"]):
            lab.down()
            lab.up()
    print(f"\n{results.table(rows)}\n\n{results.summary(rows)}")
    return [one for row in rows for one in row["violations"]]


def played(lab: Lab, round_: plan.Round, many: int) -> dict[str, Any]:
    """A round on the lab's first node: what was planned, seen and judged."""
    began = time.monotonic()
    done = on_node(lab, "node", json.dumps(round_.as_json() | {"many": many}))
    try:
        seen: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    except (IndexError, ValueError):
        seen = {"evidence": "", "drained": "", "jobs": {}, "broken": f"lab: {done.status} {done.err[-1000:]}"}
    found = violations(round_, seen)
    if not found and not seen.get("drained"):
        for name in ("events", "left"):
            seen.pop(name, None)
        for job in seen["jobs"].values():
            job.pop("output", None)
    facts = {"violations": found, "seconds": round(time.monotonic() - began, 1), "commit": commit()}
    return round_.as_json() | seen | facts


@cache
def commit() -> str:
    """Of what the rounds are played with; "" outside of git."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def on_node(lab: Lab, module: str, stdin: str) -> Done:
    """Run a module of ours there, as root."""
    script = f"cd /src && exec /usr/bin/python3 -B -m tests.campaign.{module}"
    return lab.sh(lab.nodes[0], script, stdin=stdin, timeout=ROUND_SECONDS)


def line_of(row: dict[str, Any]) -> str:
    """For a person who watches."""
    sign = "✗" if row["violations"] else "✓" if row["evidence"] else "·"
    what = f"{row['fault']} at {row['step']}"
    jobs = row["shape"] + (f" + {row['companion']}" if row["companion"] else "")
    notes = [] if row["evidence"] else ["the fault did not come at the step"]
    if row["drained"]:
        notes.append(f"drained: {row['drained'][:110]}")
    text = f"{sign} {row['seed']}/{row['number']:<4} {what:22} {jobs:20} {row['seconds']:5.1f} s  {'; '.join(notes)}"
    return "\n".join([text.rstrip(), *(f"    {one[:600]}" for one in row["violations"])])


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Rounds as JSON lines in build/faults-<lab>.jsonl, and the table that they sum up to."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.campaign import plan


def read(path: Path) -> list[dict[str, Any]]:
    """The rounds that were done; a line that was cut short is none."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def append(path: Path, row: dict[str, Any]) -> None:
    """One more."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def done(rows: list[dict[str, Any]], seed: int) -> set[int]:
    """The numbers of the rounds of a seed that are done."""
    return {row["number"] for row in rows if row["seed"] == seed}


def cycles(row: dict[str, Any]) -> int:
    """Jobs of the round that began and ended."""
    return sum(1 for job in row["jobs"].values() if job["begun"] or job["requeued"])


def table(rows: list[dict[str, Any]]) -> str:
    """Faults by steps: the rounds in which the fault was seen to come at that step; `!` where any has a violation."""
    hits = Counter((row["fault"], row["step"]) for row in rows if row["evidence"])
    bad = {(row["fault"], row["step"]) for row in rows if row["violations"]}
    head = f"| fault | {' | '.join(plan.STEPS)} |\n| --- |{' --- |' * len(plan.STEPS)}\n"
    lines = []
    for fault, steps in plan.FAULTS.items():
        cells = [
            f"{hits[fault, step]}{'!' if (fault, step) in bad else ''}" if step in steps else "" for step in plan.STEPS
        ]
        lines.append(f"| {plan.WORDS[fault]} | {' | '.join(cells)} |")
    return head + "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> str:
    """In words, a line each."""
    kinds = Counter(one.partition(":")[0] for row in rows for one in row["violations"])
    drained = [row["drained"] for row in rows if row["drained"]]
    seeds = sorted({row["seed"] for row in rows})
    return "\n".join(
        (
            f"{len(rows)} rounds of seeds {', '.join(map(str, seeds))}: {sum(map(cycles, rows))} job cycles",
            f"{sum(1 for row in rows if row['evidence'])} in which the fault was seen to come at its step",
            f"{len(drained)} drains, {sum(1 for why in drained if not why.startswith('slurm-hooks:'))} of them by Slurm"
            " itself; after each the node was clean by slurm-hooks epilog and resumed, or it is a violation",
            f"{sum(1 for row in rows if row.get('swept'))} that no Epilog came to its end in, which the sweep ended",
            f"violations: {', '.join(f'{kind} {number}' for kind, number in sorted(kinds.items())) or 'none'}",
        )
    )

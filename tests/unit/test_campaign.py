# SPDX-License-Identifier: Apache-2.0
"""The fault campaign's own head: what it draws, and how it judges what was seen. The rest needs a lab."""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import plan, results
from tests.campaign.verdict import violations

HERE = Path(__file__).parents[1] / "campaign"


def round_at(fault: str, step: str, **changes: Any) -> plan.Round:
    """A round of that pair."""
    return plan.Round(**{**plan.drawn(1, 0, fault, step).as_json(), "ends": "exit", **changes})


def seen(**changes: Any) -> dict[str, Any]:
    """A round in which all went well, but for `changes`."""
    job = {"id": 7, "stuck": "", "survived": True, "hopeless": False, "begun": True, "requeued": False}
    return {"drained": "", "left": [], "harmed": [], "during": [], "jobs": {"main": job}} | changes


def of_job(**changes: Any) -> dict[str, Any]:
    return seen(jobs={"main": seen()["jobs"]["main"] | changes})


@pytest.mark.parametrize("lab", plan.ABSENT)
def test_a_seed_gives_the_same_rounds_and_every_pair_equally_often(lab: str) -> None:
    wanted = plan.pairs(lab)
    blocks = [list(itertools.islice(plan.rounds(lab, 5), 3 * len(wanted))) for _ in range(2)]
    assert blocks[0] == blocks[1]
    assert Counter((one.fault, one.step) for one in blocks[0]) == Counter(wanted * 3)
    assert [one.number for one in blocks[0]] == list(range(3 * len(wanted)))
    assert blocks[0] != list(itertools.islice(plan.rounds(lab, 6), 3 * len(wanted)))


def test_a_job_has_what_its_fault_and_step_need() -> None:
    for one in itertools.islice(plan.rounds("uml", 2), 500):
        if one.fault in ("shim", "runc") and one.step == "epilog":
            assert one.shape in plan.RUNNING
        if one.step == "exec":
            assert one.shape in plan.ENTERED
        assert not one.long or one.step == "epilog"


@pytest.mark.parametrize(
    ("round_", "what", "kinds"),
    [
        (round_at("broker", "start"), seen(), []),
        (round_at("broker", "start"), seen(broken="no lab"), ["broken"]),
        (round_at("broker", "start"), seen(left=["cgroup /x"]), ["leak"]),
        (round_at("broker", "start"), seen(harmed=["the neighbour"]), ["innocent"]),
        (round_at("broker", "start"), of_job(hopeless=True, survived=False), ["lost"]),
        (round_at("full", "prolog"), of_job(hopeless=True, survived=False), []),
        (round_at("broker", "start"), of_job(survived=False), ["lost"]),
        (round_at("scancel", "start"), of_job(survived=False), []),
        (round_at("dockerd", "epilog"), of_job(survived=False), []),
        (round_at("dockerd", "epilog"), of_job(stuck="COMPLETING"), ["stuck"]),
        (round_at("hang", "epilog"), seen(drained="slurm-hooks: dockerd", left=["shim"]), []),
        (round_at("hang", "epilog"), seen(drained="slurm-hooks: dockerd", during=[7]), []),
        (round_at("hang", "epilog"), seen(drained="slurm-hooks: dockerd"), ["drain"]),
        (round_at("hang", "epilog"), seen(drained="Epilog error"), ["drain"]),
        (round_at("hook", "epilog"), seen(drained="Epilog error"), []),
        (round_at("hook", "epilog"), seen(drained="Epilog error", again={"7": [1, "left"]}), ["leak"]),
        (round_at("hook", "epilog"), seen(drained="Epilog error", left_after=["shim"]), ["leak"]),
    ],
)
def test_what_was_seen_is_judged(round_: plan.Round, what: dict[str, Any], kinds: list[str]) -> None:
    assert [one.partition(":")[0] for one in violations(round_, what)] == kinds


def test_rounds_sum_up_to_a_table_and_a_cut_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "build/faults-uml.jsonl"
    for number, bad in enumerate(([], ["leak: x"], [])):
        row = round_at("hang", "exec").as_json() | seen() | {"number": number, "evidence": "held", "violations": bad}
        results.append(path, row | ({"evidence": ""} if number == 2 else {}))
    with path.open("a") as file:
        file.write('{"seed": 1, "num')
    rows = results.read(path)
    assert results.done(rows, 1) == {0, 1, 2} and results.done(rows, 2) == set()
    (line,) = [line for line in results.table(rows).splitlines() if "hung" in line]
    assert line.split("|")[2:-1] == [" 0 ", " 0 ", " 0 ", " 2! ", " 0 ", " 0 "]
    assert "3 job cycles" in results.summary(rows) and "leak 1" in results.summary(rows)


def test_nothing_of_the_campaign_shares_code_with_the_product() -> None:
    for path in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] == "slurm_hooks" for name in names), path

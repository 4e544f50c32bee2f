# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks report JOB`: the story of a job, as in tests/golden/report.txt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks import events, jobs, report
from slurm_hooks.errors import HooksError
from tests.unit.policy import golden
from tests.unit.test_jobs import job_of

STORY: list[dict[str, Any]] = [
    {"event": "prolog", "user": "ada", "uid": 1001, "cgroup": "/slurm_cn1/uid_1001/job_7", "version": 1, "pids": 4160,
     "effective": 4160, "why": "4096 by the site's default + 64 for Slurm's own"},
    {"event": "refused", "request": "POST /containers/create",
     "why": "--privileged: a job's container has no privilege over the node. Leave it out."},
    {"event": "pull", "image": "reg.site/tool:1", "seconds": 2.25, "bytes": 31_000_000, "unpacked": 80_000_000,
     "why": ""},
    {"event": "pull", "image": "reg.site/tool:2", "seconds": 0.1, "bytes": 0, "unpacked": 0, "why": "manifest unknown"},
    {"event": "create", "container": "c1", "id": "0123456789ab", "image": "img", "pids": 1024, "mounts": ["/home/ada"]},
    {"event": "create", "container": "c2", "id": "ba9876543210", "image": "img", "pids": 16, "mounts": []},
    {"event": "start", "container": "c1", "pid": 42, "read_back": "as asked"},
    {"event": "start", "container": "c2", "read_back": "ended before it"},
    {"event": "exec", "container": "c1", "command": "ps"},
    {"event": "oom", "container": "c1"},
    {"event": "end", "container": "c1", "exit": 137, "peaks": {"pids": 33, "memory": 68157440},
     "own": {"memory": 31457280, "pids": 16, "cpu": 2500, "oom": 1, "full": 3}},
    {"event": "end", "container": "c2", "exit": 0, "peaks": {}},
    {"event": "left", "kind": "process", "what": "pid 99 cat, state D", "evidence": "in the job's cgroup /x"},
    {"event": "drain", "node": "cn1", "why": "slurm-hooks: job 7 (ada) left pid 99 cat"},
    {"event": "epilog", "verdict": "clean", "seconds": 0.123, "peaks": {"pids": 40}},
    {"event": "of the future", "first": 1, "second": ["a"]},
]  # fmt: skip


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of the report is the node's own; here UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_story_is_told_in_order() -> None:
    start = 1_700_000_000
    lines = [report.line({"time": start + n, "job": 7, "restart": 0, **event}) for n, event in enumerate(STORY)]
    golden("report.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("event", STORY, ids=lambda event: event["event"])
def test_no_user_can_forge_a_line(event: dict[str, Any]) -> None:
    hostile = "a\n12:00:00  epilog     clean\x1b[2J\r\u202e"
    facts = {key: hostile if isinstance(value, str) and key != "event" else value for key, value in event.items()}
    if "mounts" in facts:
        facts["mounts"] = [hostile]
    assert report.line({"time": 0.0, "job": 7, **facts}).isprintable()


def test_a_report_is_of_one_job(capsys: pytest.CaptureFixture[str]) -> None:
    events.record("oom", job=7, container="mine")
    events.record("oom", job=8, container="other")
    assert report.main(7, as_json=False) == 0
    out = capsys.readouterr().out
    assert "mine" in out and "other" not in out


def test_a_report_for_programs_is_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    events.record("oom", job=7, container="mine")
    report.main(7, as_json=True)
    assert [json.loads(line)["container"] for line in capsys.readouterr().out.splitlines()] == ["mine"]


def test_a_job_that_is_not_known_is_an_error_in_words(log: Path) -> None:
    with pytest.raises(HooksError, match=r"^job 7: no event of it on this node"):
        report.main(7, as_json=False)


def closing(job_id: int, verdict: str) -> jobs.Job:
    """A job that is over, with its record."""
    job = job_of(SLURM_JOB_ID=str(job_id))
    job.state, job.verdict = jobs.CLOSING, verdict
    jobs.create(job)
    return job


def test_a_node_that_nothing_holds_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    jobs.create(job_of())
    assert report.node(as_json=False) == 0
    assert capsys.readouterr().out == "no job that is over holds this node; 1 open\n"


def test_what_holds_the_node_is_told_with_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    job = closing(7, "slurm-hooks: job 7 (ada) left pid 99 cat, state D")
    for what in ("pid 98 cat", "pid 99 cat"):  # the first look, and the last
        events.record("left", job=7, kind="process", what=what, evidence="in the job's cgroup /x")
        events.record("epilog", job=7, verdict=job.verdict, seconds=1.0)
    assert report.node(as_json=False) == 1
    first, left, after = capsys.readouterr().out.splitlines()
    assert first == "job 7 (ada): slurm-hooks: job 7 (ada) left pid 99 cat, state D"
    assert left.endswith("left       process: pid 99 cat (in the job's cgroup /x)")
    assert after == "  next: slurm-hooks epilog 7"


def test_what_holds_the_node_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    closing(7, "x")
    assert report.node(as_json=True) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["job"], found["verdict"], found["left"]) == (7, "x", [])

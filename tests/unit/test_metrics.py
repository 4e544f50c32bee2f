# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks metrics`: counters that only rise, over rotations and crashes; and a file that is whole or not there."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks import cli, events, jobs, linux, metrics
from tests.unit.test_jobs import job_of


def figures(text: str) -> dict[str, float]:
    """The series of a file in Prometheus' format, without our prefix."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("slurm_hooks_"): float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture
def node(capsys: pytest.CaptureFixture[str]) -> Any:
    """What the command prints, as figures."""

    def run() -> dict[str, float]:
        assert cli.main(["metrics"]) == 0
        return figures(capsys.readouterr().out)

    return run


def state(run: Path) -> Path:
    return run.parent / "state" / "metrics.json"


def test_what_happened_is_counted_once(node: Any) -> None:
    events.record("prolog", job=1)
    events.record("create", job=1)
    events.record("create", job=1)
    for _ in range(3):
        found = node()
        assert (found["jobs_begun_total"], found["containers_created_total"]) == (1, 2)
    events.record("create", job=1)
    assert node()["containers_created_total"] == 3


def test_counters_only_rise_over_a_rotation(node: Any, log: Path) -> None:
    seen = []
    for at in range(6):
        events.record("exec", job=1)
        if at == 2:
            events.record("exec", job=1)
            log.rename(f"{log}.1")
        if at == 3:
            events.record("exec", job=1)
        seen.append(node()["execs_total"])
    assert seen == [1, 2, 4, 6, 7, 8]


EMPTY: dict[str, Any] = {"format": 1, "since": 1, "mark": None, "counts": {}}
DAMAGES: list[Any] = [None, [], {"format": 1}, EMPTY | {"format": 9}, EMPTY | {"since": "x"}, EMPTY | {"mark": 1},
                      EMPTY | {"counts": []}]  # fmt: skip


@pytest.mark.parametrize(
    "damage", ["", "{", "\x00\xff", "[" * 9999, *map(json.dumps, DAMAGES)], ids=lambda text: text[:40]
)
def test_a_damaged_state_counts_anew_what_came_after_it(
    node: Any, run: Path, damage: str, capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    events.record("exec", job=1)
    assert node()["execs_total"] == 1
    state(run).write_text(damage)
    (last,) = events.read()
    os.utime(state(run), (last["time"] + 0.5, last["time"] + 0.5))
    after = {"time": last["time"] + 1, "event": "exec", "job": 1, "restart": 0}
    with log.open("a") as file:
        file.write(json.dumps(after) + "\n")
    assert cli.main(["metrics"]) == 0
    said = capsys.readouterr()
    assert figures(said.out)["execs_total"] == 1  # the second alone
    assert "is damaged" in said.err and said.err.count("\n") == 1
    assert node()["execs_total"] == 1


def test_a_node_that_forgets_its_state_counts_what_the_log_has(node: Any, run: Path, log: Path) -> None:
    events.record("exec", job=1)
    log.rename(f"{log}.1")
    events.record("exec", job=1)
    assert node()["execs_total"] == 2
    state(run).unlink()
    assert node()["execs_total"] == 2


def test_counters_of_a_release_before_are_kept(node: Any, run: Path) -> None:
    events.record("exec", job=1)
    node()
    saved = json.loads(state(run).read_text())
    del saved["counts"]["orphans_total"]
    saved["counts"]["of_the_past_total"] = 3
    state(run).write_text(json.dumps(saved))
    found = node()
    assert (found["execs_total"], found["orphans_total"]) == (1, 0)
    assert "of_the_past_total" not in found


def test_a_gap_and_damaged_lines_are_counted_and_said(node: Any, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events.record("exec", job=1)
    node()
    log.unlink()
    log.write_text("{\n")
    events.record("exec", job=1)
    assert cli.main(["metrics"]) == 0
    said = capsys.readouterr()
    found = figures(said.out)
    assert (found["execs_total"], found["log_gaps_total"], found["log_lines_damaged_total"]) == (2, 1, 1)
    assert "was gone before it was counted" in said.err


def test_jobs_are_told_by_their_records(node: Any) -> None:
    assert (node()['jobs{state="open"}'], node()["node_held"]) == (0, 0)
    jobs.create(job_of(SLURM_JOB_ID="1"))
    closing = job_of(SLURM_JOB_ID="2")
    closing.state = jobs.CLOSING
    jobs.create(closing)
    found = node()
    assert (found['jobs{state="open"}'], found['jobs{state="closing"}'], found["node_held"]) == (1, 1, 0)
    closing.verdict = "slurm-hooks: job 2 (ada) left pid 9 cat"
    jobs.store(closing)
    assert node()["node_held"] == 1
    assert len([name for name in node() if "jobs{" in name]) == 2


def test_a_file_is_put_in_place_for_all_to_read(tmp_path: Path) -> None:
    output = tmp_path / "collector" / "slurm-hooks.prom"
    output.parent.mkdir()
    output.write_text("old")
    before = os.umask(0o077)
    try:
        assert cli.main(["metrics", "--output", str(output)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    assert figures(output.read_text())["jobs_begun_total"] == 0
    assert [path.name for path in output.parent.iterdir()] == ["slurm-hooks.prom"]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "x.prom"
    metrics.publish(str(output), "old\n")
    seen = []
    real = os.rename

    def renamed(*args: Any, **kwargs: Any) -> None:
        seen.append((output.read_text(), sorted(path.suffix for path in tmp_path.iterdir() if path.is_file())))
        real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", renamed)
    metrics.publish(str(output), "new\n")
    ((text, suffixes),) = seen
    assert text == "old\n" and suffixes.count(".prom") == 1
    assert output.read_text() == "new\n"


def test_a_link_in_the_collectors_directory_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "x.prom").symlink_to(target)
    metrics.publish(str(tmp_path / "x.prom"), "new\n")
    assert target.read_text() == "mine"
    assert not (tmp_path / "x.prom").is_symlink()


def test_where_it_cannot_be_put_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["metrics", "--output", str(tmp_path / "none" / "x.prom")]) == 1
    assert "collector.textfile.directory" in capsys.readouterr().err
    (tmp_path / "x.prom").mkdir()
    assert cli.main(["metrics", "--output", str(tmp_path / "x.prom")]) == 1
    assert not [path for path in tmp_path.iterdir() if re.match(r"\.x\.prom", path.name)]


def test_two_runs_at_once_count_once(node: Any, run: Path) -> None:
    events.record("exec", job=1)
    node()
    child = os.fork()
    if child == 0:
        try:
            os._exit(cli.main(["metrics", "--output", str(run.parent / "a.prom")]))
        except BaseException:
            os._exit(99)
    assert node()["execs_total"] == 1
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_run_that_does_not_end_is_told_of(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state(run).parent.mkdir()
    monkeypatch.setattr(metrics, "WAIT_SECONDS", 0.0)
    with linux.Locked(str(state(run).parent)) as lock:
        assert lock.held
        assert cli.main(["metrics"]) == 1
    assert "another run" in capsys.readouterr().err


def test_the_state_is_roots_alone(node: Any, run: Path) -> None:
    node()
    assert stat.S_IMODE(state(run).stat().st_mode) == 0o600

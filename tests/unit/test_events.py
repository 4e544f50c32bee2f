# SPDX-License-Identifier: Apache-2.0
"""The log of events: one line each, whatever is in it; and never an error."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from slurm_hooks import events


def test_an_event_is_one_line_of_json(log: Path) -> None:
    events.record("prolog", job=4711, restart=1, user="ada", pids=100)
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)
    assert entry.pop("time") > 1.7e9
    assert entry == {"event": "prolog", "job": 4711, "restart": 1, "user": "ada", "pids": 100}


@pytest.mark.parametrize(
    "value",
    ["a\nb", '"', "\x00", "\u2028", "\udcff", "ü", {"a": [1, None]}, Path("/x"), {1, 2}, 1e300, "x" * 100_000],
    ids=lambda value: repr(value)[:20],
)
def test_whatever_is_in_it_an_event_is_one_line(log: Path, value: object) -> None:
    events.record("refused", why=value)
    events.record("next")
    assert [event["event"] for event in events.read()] == ["refused", "next"]
    assert log.read_bytes().count(b"\n") == 2
    assert log.read_bytes().isascii()


def test_lines_of_many_writers_never_mix(log: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            events.record("end", job=number, text="x" * 5000)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [len(list(events.read(job=number))) for number in range(4)] == [50] * 4


def test_the_log_is_not_for_everyone(log: Path) -> None:
    events.record("prolog")
    assert stat.S_IMODE(log.stat().st_mode) & 0o027 == 0


def test_what_cannot_be_logged_is_said_and_fails_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events.record("prolog", job=1, path=str(tmp_path / "missing" / "events.jsonl"))
    assert "event not logged" in capsys.readouterr().err


def test_the_log_is_not_written_through_a_link(tmp_path: Path, log: Path) -> None:
    (tmp_path / "target").write_text("")
    log.symlink_to(tmp_path / "target")
    events.record("prolog")
    assert (tmp_path / "target").read_text() == ""


def test_a_full_disk_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    events.record("prolog", path="/dev/full")
    assert "event not logged" in capsys.readouterr().err


def test_the_rotated_file_is_read_first(log: Path) -> None:
    events.record("prolog", job=1)
    log.rename(f"{log}.1")
    events.record("epilog", job=1)
    events.record("prolog", job=2)
    assert [event["event"] for event in events.read(job=1)] == ["prolog", "epilog"]
    assert len(list(events.read())) == 3


def test_a_line_that_was_cut_short_is_passed_over(log: Path) -> None:
    events.record("prolog", job=1)
    with log.open("ab") as file:
        file.write(b'{"time": 1, "ev\n[1]\n\xff\xfe\n\n')
    events.record("epilog", job=1)
    assert [event["event"] for event in events.read()] == ["prolog", "epilog"]


def test_no_log_is_no_events(log: Path) -> None:
    assert list(events.read()) == []

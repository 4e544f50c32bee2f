# SPDX-License-Identifier: Apache-2.0
"""The event log read on: no event is read twice or passed over, whatever logrotate does in between."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks import events
from slurm_hooks.metrics.tail import Mark, Tail, lost


class Reader:
    """Reads on and on, over its mark as it is saved."""

    def __init__(self, log: Path, mark: Mark | None = None) -> None:
        self.log, self.mark, self.gaps, self.damaged = log, mark, 0, 0

    def write(self, *numbers: int) -> None:
        """Events of jobs, each a second after the one before."""
        with self.log.open("a") as file:
            for number in numbers:
                file.write(json.dumps({"time": 1_700_000_000.0 + number, "event": "prolog", "job": number}) + "\n")

    def read(self) -> list[int]:
        """The jobs of the events that are new."""
        tail = Tail(self.mark, str(self.log))
        found = [event["job"] for event in tail]
        self.mark = Mark.of(json.loads(json.dumps(tail.mark.to_json())))
        self.gaps += tail.gap
        self.damaged += tail.damaged
        return found


@pytest.fixture
def reader(log: Path) -> Reader:
    return Reader(log)


def rotate(log: Path) -> None:
    """As etc/logrotate.d has it: renamed, the one before compressed into another file."""
    first, second = Path(f"{log}.1"), Path(f"{log}.2.gz")
    if first.exists():
        second.write_bytes(gzip.compress(first.read_bytes()))
        first.unlink()
    log.rename(first)


def test_what_was_read_is_not_read_again(reader: Reader) -> None:
    reader.write(1)
    events.record("prolog", job=2)
    assert reader.read() == [1, 2]
    assert reader.read() == []
    reader.write(3)
    assert reader.read() == [3]


def test_without_a_mark_all_that_is_there_is_read(log: Path, reader: Reader) -> None:
    reader.write(1)
    rotate(log)
    reader.write(2)
    assert reader.read() == [1, 2]
    assert reader.gaps == 0


@pytest.mark.parametrize("after", [(), (4, 5)], ids=["nothing written since", "written since"])
def test_a_rotation_in_between_loses_nothing(log: Path, reader: Reader, after: tuple[int, ...]) -> None:
    reader.write(1)
    assert reader.read() == [1]
    reader.write(2, 3)
    rotate(log)
    reader.write(*after)
    assert reader.read() == [2, 3, *after]
    reader.write(6)
    assert reader.read() == [6]
    assert reader.gaps == 0


def test_a_rotation_of_what_was_read_whole_loses_nothing(log: Path, reader: Reader) -> None:
    reader.write(1)
    assert reader.read() == [1]
    rotate(log)
    log.touch()
    assert reader.read() == []
    reader.write(2)
    rotate(log)
    assert reader.read() == [2]
    assert reader.gaps == 0


def test_two_rotations_in_between_lose_what_is_compressed_and_it_is_said(log: Path, reader: Reader) -> None:
    reader.write(1)
    assert reader.read() == [1]
    reader.write(2)
    rotate(log)
    reader.write(3)
    rotate(log)
    reader.write(4)
    assert reader.read() == [3, 4]
    assert reader.gaps == 1
    assert reader.read() == []
    assert reader.gaps == 1


def test_an_inode_that_is_used_again_is_no_known_file(log: Path, reader: Reader) -> None:
    reader.write(1)
    reader.read()
    assert reader.mark
    log.unlink()
    reader.write(*range(10, 30))
    reader.mark = Mark(log.stat().st_ino, reader.mark.offset, reader.mark.head, reader.mark.time)
    assert reader.read() == list(range(10, 30))
    assert reader.gaps == 1


def test_a_log_that_is_emptied_in_place_is_read_from_its_begin(log: Path, reader: Reader) -> None:
    reader.write(1, 2)
    reader.read()
    os.truncate(log, 0)
    reader.write(3)
    assert reader.read() == [3]


def test_a_site_that_copies_and_truncates_loses_and_repeats_nothing(log: Path, reader: Reader) -> None:
    reader.write(1)
    reader.read()
    reader.write(2)
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    reader.write(3)
    assert reader.read() == [2, 3]
    assert reader.gaps == 0


def test_a_line_that_is_being_written_is_read_when_it_is_whole(log: Path, reader: Reader) -> None:
    reader.write(1)
    with log.open("ab") as file:
        file.write(b'{"time": 1.5, "event": "prolog", "jo')
    assert reader.read() == [1]
    with log.open("ab") as file:
        file.write(b'b": 2}\n')
    assert reader.read() == [2]
    assert reader.damaged == 0


def test_a_line_that_was_cut_short_is_passed_over_and_counted(log: Path, reader: Reader) -> None:
    reader.write(1)
    with log.open("ab") as file:
        file.write(b'{"time": 1, "ev\n[1]\n\xff\n\n' + b"[" * 5000 + b"\n")
    reader.write(2)
    assert reader.read() == [1, 2]
    assert reader.damaged == 4
    with log.open("ab") as file:
        file.write(b'{"time": 1, "ev')  # of a full disk, and then it is rotated
    rotate(log)
    reader.write(3)
    assert reader.read() == [3]
    assert reader.damaged == 5


def test_a_place_that_is_not_known_is_a_time(log: Path) -> None:
    lines = [{"time": float(at), "event": "prolog", "job": at} for at in range(1, 7)]
    Path(f"{log}.1").write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    log.write_text("".join(json.dumps(line) + "\n" for line in lines[3:]))
    reader = Reader(log, lost(2.5))
    assert reader.read() == [3, 4, 5, 6]
    assert reader.gaps == 0  # what was before it is there, so nothing lay between
    assert reader.read() == []
    assert Reader(log, lost(0.5)).read() == [1, 2, 3, 4, 5, 6]


def test_no_log_is_no_events(reader: Reader) -> None:
    assert reader.read() == []
    reader.write(1)
    assert reader.read() == [1]
    assert reader.gaps == 0


def test_a_log_that_is_empty_at_first(log: Path, reader: Reader) -> None:
    log.touch()
    assert reader.read() == []
    reader.write(1)
    assert reader.read() == [1]
    assert reader.gaps == 0


def test_a_link_is_not_followed(log: Path, tmp_path: Path, reader: Reader) -> None:
    reader.write(1)
    log.rename(tmp_path / "other")
    log.symlink_to(tmp_path / "other")
    assert reader.read() == []


def test_reading_on_does_not_grow_with_the_log(log: Path, reader: Reader) -> None:
    line = json.dumps({"time": time.time(), "event": "prolog", "job": 1, "why": "x" * 900}) + "\n"
    log.write_text(line * 50_000)
    began = time.process_time()
    assert len(reader.read()) == 50_000
    whole = time.process_time() - began
    began = time.process_time()
    reader.write(2)
    assert reader.read() == [2]
    assert time.process_time() - began < whole / 20


@pytest.mark.parametrize("saved", [None, [], {}, {"inode": 1, "offset": -1, "head": "", "time": 1}, {"inode": "1"},
                                   {"inode": 1, "offset": 1, "head": 1, "time": 1}])  # fmt: skip
def test_what_is_no_place_is_an_error(saved: Any) -> None:
    with pytest.raises(ValueError, match="no place"):
        Mark.of(saved)

# SPDX-License-Identifier: Apache-2.0
"""The broker's notes: a container belongs to the job in whose record it is noted, and to no other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from slurm_hooks import jobs
from slurm_hooks.broker import notes
from slurm_hooks.broker.notes import Note
from slurm_hooks.errors import Conflict, NotFound
from tests.unit.test_jobs import job_of

A, B = "a" * 64, "ab" + "c" * 62


@pytest.fixture
def job(run: Path) -> jobs.Job:
    """An open job with two containers and one that dockerd has not answered for yet."""
    job = job_of()
    jobs.create(job)
    notes.begin(job, Note("n1", "one", "img", id=A, created=1.0))
    notes.begin(job, Note("n2", "two", "img", id=B, created=2.0))
    notes.begin(job, Note("n3", "three", "img", created=3.0))
    return job


@pytest.mark.parametrize(
    ("reference", "nonce"),
    [("one", "n1"), ("two", "n2"), (A, "n1"), (B, "n2"), (A[:12], "n1"), ("ab", "n2"), ("abc", "n2")],
)
def test_a_container_is_found_by_name_id_or_beginning(job: jobs.Job, reference: str, nonce: str) -> None:
    assert notes.find(job, reference).nonce == nonce


@pytest.mark.parametrize("reference", ["a", "four", "on", "three", "n1", "", B + "c", A.upper(), "one ", "../n1"])
def test_what_is_not_clearly_the_jobs_is_not_there(job: jobs.Job, reference: str) -> None:
    with pytest.raises(NotFound) as error:
        notes.find(job, reference)
    assert str(error.value) == f"No such container: {reference}"


def test_a_container_of_another_job_is_not_there_in_the_same_words(job: jobs.Job) -> None:
    other = job_of(SLURM_JOB_ID="5")
    jobs.create(other)
    with pytest.raises(NotFound) as not_yours:
        notes.find(other, "one")
    notes.drop(job.key, "n1")
    with pytest.raises(NotFound) as not_there:
        notes.find(job, "one")
    assert str(not_yours.value) == str(not_there.value)


def test_a_name_wins_over_the_beginning_of_an_id(job: jobs.Job) -> None:
    notes.begin(job, Note("n4", "ab", "img", id="d" * 64, created=4.0))
    assert notes.find(job, "ab").nonce == "n4"


def test_a_note_is_begun_once(job: jobs.Job) -> None:
    with pytest.raises(FileExistsError):
        notes.begin(job, Note("n1", "again", "img"))
    assert notes.find(job, "one").nonce == "n1"


def test_a_note_follows_no_link(job: jobs.Job, run: Path, tmp_path: Path) -> None:
    (run / "jobs" / job.key / "containers" / "n9").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        notes.begin(job, Note("n9", "x", "img"))
    assert not (tmp_path / "elsewhere").exists()


def test_without_a_record_nothing_is_noted(run: Path) -> None:
    with pytest.raises(FileNotFoundError):
        notes.begin(job_of(), Note("n1", "x", "img"))


def test_a_note_is_amended_whole(job: jobs.Job) -> None:
    note = notes.find(job, "one")
    notes.amend(job, note, sources={"/stage/0": "/home/ada"}, asked={"HostConfig.PidsLimit": 5})
    found = notes.find(job, "one")
    assert (found.id, found.sources, found.asked) == (A, {"/stage/0": "/home/ada"}, {"HostConfig.PidsLimit": 5})


def test_notes_are_told_oldest_first_and_a_damaged_one_is_passed_over(job: jobs.Job, run: Path) -> None:
    (run / "jobs" / job.key / "containers" / "n0").write_text("{")
    assert [note.nonce for note in notes.of(job)] == ["n1", "n2", "n3"]


def test_a_note_that_a_killed_broker_was_writing_is_no_second_container(
    job: jobs.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: str) -> None:
        raise Killed

    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(os, "rename", kill)
        dying.setattr(os, "unlink", kill)  # whoever is killed does not tidy up
        notes.amend(job, notes.find(job, "one"), verified=False)
    assert [note.nonce for note in notes.of(job)] == ["n1", "n2", "n3"]
    notes.drop(job.key, "n1")
    assert not notes.taken(job, "one")


def test_a_note_is_roots_alone(job: jobs.Job, run: Path) -> None:
    assert stat.S_IMODE((run / "jobs" / job.key / "containers" / "n1").stat().st_mode) == 0o600


def test_dropping_is_idempotent(job: jobs.Job) -> None:
    notes.drop(job.key, "n1")
    notes.drop(job.key, "n1")
    assert [note.nonce for note in notes.of(job)] == ["n2", "n3"]


@pytest.mark.parametrize("wish", ["one", "/one", "three"])
def test_a_name_is_taken_once_in_a_job(job: jobs.Job, wish: str) -> None:
    with pytest.raises(Conflict, match=f'^Conflict. The container name "/{wish.lstrip("/")}" is already in use'):
        notes.free_name(job, wish, "n9")


def test_a_container_without_a_name_gets_one(job: jobs.Job) -> None:
    nonce = notes.new_nonce()
    assert notes.free_name(job, "", nonce) == f"c{nonce[:10]}"


def test_nonces_differ() -> None:
    assert len({notes.new_nonce() for _ in range(100)}) == 100
    assert all(nonce.isalnum() for nonce in (notes.new_nonce(),))


def test_a_note_that_changed_is_read_anew(job: jobs.Job) -> None:
    before = notes.find(job, "one")
    for name in ("uno", "eins"):
        notes.amend(job, before, name=name)
        assert notes.find(job, name).id == A
    notes.drop(job.key, "n1")
    with pytest.raises(NotFound):
        notes.find(job, A)


def test_a_note_that_did_not_change_is_read_once(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    known = notes.of(job)
    monkeypatch.setattr("slurm_hooks.linux.read", lambda path: pytest.fail(f"{path} is read again"))
    assert notes.of(job) == known

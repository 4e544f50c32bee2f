# SPDX-License-Identifier: Apache-2.0
"""Which runs of a job an Epilog is for, by what slurmd says and what the records say."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from slurm_hooks import epilog, jobs, linux
from slurm_hooks.cgroups import slurm
from tests.unit.test_jobs import ENVIRON, job_of


def opened(restart: int, start: int) -> jobs.Job:
    """A run whose Prolog has been."""
    job = job_of(SLURM_JOB_RESTART_COUNT=str(restart), SLURM_JOB_START_TIME=str(start))
    jobs.create(job)
    return job


def over(restart: int, start: int = 0) -> list[int]:
    """The restart counts of the runs that an Epilog ends that is told so."""
    told = {"SLURM_JOB_RESTART_COUNT": str(restart)} | ({"SLURM_JOB_START_TIME": str(start)} if start else {})
    return [job.restart for job in epilog.ended(ENVIRON | told)]


def test_the_epilog_of_a_requeued_run_is_told_the_next_number(run: Path) -> None:
    opened(0, 100)
    assert over(1, 100) == [0]


def test_before_23_02_the_newest_run_that_is_not_above_it(run: Path) -> None:
    opened(0, 0)
    assert over(1) == [0]
    opened(1, 0)
    assert over(0) == [0]


def test_a_run_whose_epilog_never_came_is_ended_with_the_next_one(run: Path) -> None:
    opened(0, 100)
    opened(1, 200)
    assert over(1, 200) == [0, 1]


def test_a_start_that_slurm_moves_after_the_prolog_is_the_same_run(run: Path) -> None:
    opened(0, 100)
    assert over(0, 130) == [0]


def test_a_late_second_epilog_ends_no_later_run(run: Path) -> None:
    jobs.bury(opened(0, 100))
    opened(1, 200)
    assert over(1, 100) == []


@pytest.mark.parametrize("told", [0, 1])
def test_a_second_epilog_has_nothing_to_do(run: Path, told: int) -> None:
    jobs.bury(opened(0, 100))
    assert over(told, 100) == []


def test_a_job_without_a_prolog_is_what_slurmd_says(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epilog, "described", lambda environ: job_of(**environ))
    assert over(3, 300) == [3]


def test_a_damaged_record_is_told_and_its_run_ended(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "place_of", lambda environ: slurm.Place(1, "/slurm", "/slurm/uid_1/job_1"))
    job = opened(0, 100)
    (run / "jobs" / job.key / "job").write_text("{")
    assert over(1, 100) == [0]


@pytest.mark.parametrize("buried", [False, True])
def test_the_epilog_of_an_earlier_run_does_not_end_one_whose_record_is_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch, *, buried: bool
) -> None:
    monkeypatch.setattr(slurm, "place_of", lambda environ: slurm.Place(1, "/slurm", "/slurm/uid_1/job_1"))
    first, second = opened(0, 100), opened(1, 200)
    if buried:
        jobs.bury(first)
    (run / "jobs" / second.key / "job").write_text("{")
    assert over(1, 100) == ([] if buried else [0])  # a requeued run's Epilog is told the next number
    assert over(1, 200) == ([1] if buried else [0, 1])


def launching(job: jobs.Job) -> linux.Locked:
    """The broker, between decision and verified start."""
    return linux.Locked(jobs.directory(job.key), shared=True)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each teardown found, one after the other; the deadlines are short."""
    monkeypatch.setattr(epilog, "BROKER_SECONDS", 0.2)
    found = ["clean"]
    monkeypatch.setattr(epilog, "torn_down", lambda job, **_: found[-1])
    return found


def test_a_start_that_ends_late_costs_a_second_look_and_no_node(
    looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = opened(0, 100)
    start = launching(job)
    done: list[str] = []

    def torn_down(job: jobs.Job, *, late: bool) -> str:
        done.append("teardown")
        start.release()
        return "clean"

    monkeypatch.setattr(epilog, "torn_down", torn_down)
    assert (epilog.closed(job)[0], done) == ("clean", ["teardown", "teardown"])


def test_a_start_that_hangs_is_told(looks: list[str]) -> None:
    job = opened(0, 100)
    with launching(job):
        assert "a container start hangs" in epilog.closed(job)[0]


def test_a_record_whose_burial_was_broken_off_is_removed(run: Path, looks: list[str]) -> None:
    job = opened(0, 100)
    job.verdict = "clean"
    jobs.bury(job)
    (run / "jobs" / job.key / "containers").mkdir(parents=True)  # `job` in it has gone, and the hook was killed
    assert epilog.closed(job)[0] == "clean"
    assert jobs.keys() == []


def test_an_epilog_that_waited_gives_the_verdict_of_the_one_before(looks: list[str]) -> None:
    job = opened(0, 100)
    first = linux.Locked(jobs.directory(job.key))
    job.state = jobs.CLOSING
    jobs.store(job)
    verdicts: list[str] = []
    second = threading.Thread(target=lambda: verdicts.append(epilog.closed(jobs.load(job.key) or job)[0]))
    second.start()
    while len(lock_waiters(job)) < 2:
        time.sleep(0.001)
    job.verdict, job.closed = "a reason", 4e9
    jobs.store(job)
    first.release()
    second.join()
    assert verdicts == ["a reason"]


def lock_waiters(job: jobs.Job) -> list[str]:
    """The descriptors of this process that are open on the job's record: the holder's, and the waiter's."""
    here = os.path.realpath(jobs.directory(job.key))
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == here]

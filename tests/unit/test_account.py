# SPDX-License-Identifier: Apache-2.0
"""The account of a job's containers: what is kept, when it is told, and its words."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks import cgroups, jobs
from slurm_hooks.broker import account, notes, readback
from slurm_hooks.broker.peers import Asker
from tests.unit.policy import golden
from tests.unit.test_jobs import job_of

ENTRY: dict[str, Any] = {"name": "c", "image": "img", "exit": 0, "seconds": 1.0, "limit": 16}


class Cgroup:
    """Of the fixtures' hierarchy: what it says of any path."""

    def __init__(self, *, steps: tuple[str, ...] = (), limit: int = 4 << 30) -> None:
        self.steps, self.limit = steps, limit

    def exists(self, path: str) -> bool:
        return path.rpartition("/")[2] in self.steps

    def memory_limit(self, path: str) -> int:
        return self.limit

    def peaks(self, path: str) -> dict[str, int]:
        return {"memory": 1 << 20, "pids": 2}

    def counts(self, path: str) -> dict[str, int]:
        return {"cpu": 1500, "oom": 0, "full": 0}


@pytest.fixture
def job(run: Path, monkeypatch: pytest.MonkeyPatch) -> jobs.Job:
    """A job with a record, which has no batch step."""
    monkeypatch.setattr(cgroups, "of", lambda version: Cgroup())
    job = job_of()
    jobs.create(job)
    return job


def asker(job: jobs.Job, step: str) -> Asker:
    return Asker(1, job.uid, job.gid, (), job, step)


def test_each_container_has_a_line_that_says_why_it_died() -> None:
    entries = [
        ENTRY,
        ENTRY | {"exit": 3, "cpu": 61_500, "memory": 5 << 30, "pids": 1},
        ENTRY | {"exit": 137, "oom": 1, "memory": 4 << 30},
        ENTRY | {"exit": 137, "oom": 0, "image": f"reg.site/img@sha256:{'0123456789abcdef' * 4}"},
        ENTRY | {"exit": 2, "full": 7, "pids": 16},
        ENTRY | {"exit": 137, "oom": 1, "memory": 32 << 20, "most": 32 << 20},
        ENTRY | {"exit": 137, "oom": 1, "memory": 4 << 30, "most": 4 << 30},
    ]
    lines = [account.line(entry, 4 << 30) for entry in entries]
    golden("account.txt", "\n".join([*lines, account.line(entries[2], 0)]) + "\n")


def test_the_batch_scripts_end_tells_of_the_whole_job_once(job: jobs.Job) -> None:
    account.keep(job, ENTRY)
    account.keep(job, ENTRY | {"exit": 1})
    assert account.told(asker(job, "batch")).splitlines()[0] == f"slurm-hooks: job {job.id} ran 2 containers, 1 failed:"
    assert account.told(asker(job, "batch")) == ""


def test_a_step_tells_of_what_came_since_the_one_before(job: jobs.Job) -> None:
    account.keep(job, ENTRY | {"exit": 1})
    account.told(asker(job, "0"))
    account.keep(job, ENTRY)
    assert account.told(asker(job, "1")).splitlines()[0] == f"slurm-hooks: job {job.id} ran 1 container, none failed:"


def test_a_step_of_a_batch_job_leaves_it_to_the_end(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "of", lambda version: Cgroup(steps=("step_batch",)))
    account.keep(job, ENTRY)
    assert account.told(asker(job, "0")) == ""
    assert account.told(asker(job, "batch")) != ""


def test_of_many_the_last_are_told(job: jobs.Job) -> None:
    for number in range(account.KEPT + 5):
        account.keep(job, ENTRY | {"name": f"c{number}"})
    lines = account.told(asker(job, "batch")).splitlines()
    assert lines[0].endswith(f"ran {account.KEPT + 5} containers, none failed; the last {account.KEPT}:")
    assert [line.split()[0] for line in lines[1:]] == [f"c{number}" for number in range(5, account.KEPT + 5)]


def test_without_a_record_there_is_no_account(job: jobs.Job) -> None:
    jobs.bury(job)
    account.keep(job, ENTRY)
    assert account.told(asker(job, "batch")) == ""


def test_the_figures_are_read_when_the_first_process_ends(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "cgroup_of", lambda pid, version: "/job/c")

    async def story() -> tuple[dict[str, int], dict[str, int]]:
        child = await asyncio.create_subprocess_exec("sleep", "600")
        account.watch("nonce", child.pid, 2, "/job/c")
        before = account.taken("nonce", 0)
        child.send_signal(signal.SIGKILL)
        async with asyncio.timeout(5):
            while not account._figures:
                await asyncio.sleep(0.001)
        await child.wait()
        return before, account.taken("nonce", 0)

    fds = len(os.listdir("/proc/self/fd"))
    assert asyncio.run(story()) == ({}, {"memory": 1 << 20, "pids": 2, "cpu": 1500, "oom": 0, "full": 0})
    assert len(os.listdir("/proc/self/fd")) == fds
    assert account.taken("nonce", 0) == {}


@pytest.mark.parametrize(
    ("read", "status", "told"),
    [
        ({}, 137, {"oom": 1}),  # the cgroup was gone before the broker came to it
        ({"memory": 5, "oom": 0}, 137, {"memory": 5, "oom": 0}),  # beside one that was ended, on cgroup v1
        ({"oom": 3}, 137, {"oom": 3}),
        ({}, 0, {}),
    ],
)
def test_dockerds_word_that_memory_was_wanting_counts_where_the_kernels_was_not_read(
    read: dict[str, int], status: int, told: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "_figures", {"nonce": read})
    monkeypatch.setattr(account, "_starved", {})
    account.starved("nonce")
    assert account.taken("nonce", status) == told
    assert account.taken("nonce", 137) == {}, "of an end, not of the next"


def test_a_pid_that_is_another_processs_by_now_is_not_watched(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "cgroup_of", lambda pid, version: "/elsewhere")

    async def story() -> int:
        before = len(os.listdir("/proc/self/fd"))
        account.watch("nonce", os.getpid(), 2, "/job/c")
        return len(os.listdir("/proc/self/fd")) - before

    assert asyncio.run(story()) == 0


@pytest.fixture
def ended(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> jobs.Job:
    """A job with a container whose first process has ended, of which dockerd has said nothing."""
    monkeypatch.setattr(account, "_figures", {"nonce": {"pids": 1}})
    monkeypatch.setattr(account, "_heard", asyncio.Event())
    notes.begin(job, notes.Note("nonce", "c", "img", id="a" * 64))
    return job


def test_the_account_waits_for_dockerds_word_of_a_container_that_has_ended(ended: jobs.Job) -> None:
    async def story() -> str:
        waits = asyncio.create_task(account.settled(ended))
        await asyncio.sleep(0)
        account.taken("another job's", 0)
        await asyncio.sleep(0)
        assert not waits.done()
        account.taken("nonce", 0)
        account.keep(ended, ENTRY)
        await waits
        return account.told(asker(ended, "batch"))

    assert "ran 1 container" in asyncio.run(story())


def test_the_account_does_not_wait_for_ever(ended: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SETTLE_SECONDS", 0.01)
    asyncio.run(account.settled(ended))


def test_the_account_does_not_wait_for_containers_of_others(ended: jobs.Job) -> None:
    async def story() -> None:
        async with asyncio.timeout(account.SETTLE_SECONDS / 2):
            await account.settled(job_of(SLURM_JOB_ID="7"))

    asyncio.run(story())

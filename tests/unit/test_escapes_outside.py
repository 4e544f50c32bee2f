# SPDX-License-Identifier: Apache-2.0
"""Whose is a process outside of every Slurm cgroup? The judgement, case by case; and that looking is cheap."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_hooks import jobs, linux, presence
from slurm_hooks.escapes import outside, things
from slurm_hooks.escapes.left import LIKELY, SURE
from slurm_hooks.escapes.outside import UNSET, Stray, World
from tests.unit.test_jobs import ENVIRON, job_of

JOB = job_of()
START = JOB.uptime
SLICE = "/user.slice/user-1001.slice"
MANAGER = f"{SLICE}/user@1001.service"
OLD = Stray(50, "systemd", "S", START - 100, 1001, f"{MANAGER}/init.scope", 1001, "")
YOUNG = replace(OLD, start=START + 1)
STRAY = Stray(99, "sleep", "S", START + 1, 1001, f"{MANAGER}/app.slice/run-1.scope", UNSET, "4711")
SERVICE = replace(STRAY, place=f"{MANAGER}/app.slice/run-2.service", loginuid=1001, job="")
ALONE = World(sole=True, systemd=True, manager=OLD, session=False, lingers=False)
BARE = replace(ALONE, systemd=False, manager=None)


def weight(stray: Stray, world: World = ALONE, job: jobs.Job = JOB) -> str:
    return outside.judged(stray, job, world)[0]


THE_JOBS = {
    "a scope of the user's manager": (STRAY, ALONE),
    "the same under a manager that lingers": (STRAY, replace(ALONE, lingers=True)),
    "a service of a manager that came with the job": (SERVICE, replace(ALONE, manager=YOUNG)),
    "that manager itself": (YOUNG, replace(ALONE, manager=YOUNG)),
    "moved out of every unit": (replace(STRAY, place="/", job=""), ALONE),
    "moved to a cgroup of nobody's": (replace(STRAY, place="/hidden"), ALONE),
    "the same on a kernel without audit": (replace(STRAY, place="/hidden", loginuid=None), ALONE),
}
LIKELY_THE_JOBS = {
    "a service of a manager older than the job": (SERVICE, ALONE),
    "a service of a manager that lingers": (SERVICE, replace(ALONE, manager=YOUNG, lingers=True)),
    "a manager's, beside a login session": (SERVICE, replace(ALONE, manager=YOUNG, session=True)),
    "salloc's shell in tmux": (replace(STRAY, loginuid=1001), ALONE),
    "a scope without the job's number": (replace(STRAY, job=""), ALONE),
    "a login session, salloc's too": (replace(STRAY, place=f"{SLICE}/session-3.scope", loginuid=1001), ALONE),
    "cron": (replace(STRAY, place="/system.slice/cron.service", job=""), ALONE),
    "at": (replace(STRAY, place="/system.slice/atd.service", job=""), ALONE),
    "ssh on a node without sessions": (replace(STRAY, place="/system.slice/ssh.service", loginuid=1001, job=""), ALONE),
    "ssh by socket": (replace(STRAY, place="/system.slice/sshd@3-1.service", loginuid=1001, job=""), ALONE),
    "a portal's service with the job's number": (replace(STRAY, place="/system.slice/portal.service"), ALONE),
    "the job's number, and another job of the user": (STRAY, replace(ALONE, sole=False)),
    "the job's number, on a node without systemd": (replace(STRAY, place="/"), BARE),
}
INNOCENT = {
    "older than the job": (replace(STRAY, start=START - 0.02), ALONE),
    "another user's": (replace(STRAY, uid=1002), ALONE),
    "root's": (replace(STRAY, uid=0), ALONE),
    "an admin's su": (replace(STRAY, loginuid=1000, place="/"), ALONE),
    "a daemon that runs as the user": (replace(STRAY, place="/system.slice/x.service", job=""), ALONE),
    "what sshd runs before a login": (replace(STRAY, place="/system.slice/ssh.service", job=""), ALONE),
    "another job's number there": (replace(STRAY, place="/system.slice/x.service", job="4712"), ALONE),
    "a container of the site's docker": (replace(STRAY, place="/docker/0af3", job=""), ALONE),
    "a scope, and another job of the user": (replace(STRAY, job=""), replace(ALONE, sole=False)),
    "no unit, and another job of the user": (replace(STRAY, job="", place="/"), replace(ALONE, sole=False)),
    "a node without systemd": (replace(STRAY, job="", place="/"), BARE),
}


@pytest.mark.parametrize(("stray", "world"), THE_JOBS.values(), ids=THE_JOBS)
def test_what_is_the_jobs_for_sure(stray: Stray, world: World) -> None:
    assert weight(stray, world) == SURE


@pytest.mark.parametrize(("stray", "world"), LIKELY_THE_JOBS.values(), ids=LIKELY_THE_JOBS)
def test_what_is_likely_the_jobs(stray: Stray, world: World) -> None:
    assert weight(stray, world) == LIKELY


@pytest.mark.parametrize(("stray", "world"), INNOCENT.values(), ids=INNOCENT)
def test_what_is_not_blamed(stray: Stray, world: World) -> None:
    assert weight(stray, world) == ""


def test_a_job_number_alone_ends_nothing() -> None:
    places = ("/", "/x", "/system.slice/x.service", STRAY.place, f"{SLICE}/session-1.scope")
    for place in places:
        assert weight(replace(STRAY, place=place), replace(ALONE, sole=False)) == LIKELY


@pytest.mark.parametrize("uid", [0, 33, 999, 65534])
def test_no_system_account_is_looked_at(uid: int) -> None:
    assert not presence.is_users(uid)
    assert outside.look(job_of(SLURM_JOB_UID=str(uid))) == []


# -- on this machine: needs root ---------------------------------------------------------------------

UID = 61_234  # nobody's
root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture
def someone() -> Iterator[subprocess.Popen[bytes]]:
    """A process of a user who has no other."""
    process = subprocess.Popen(["sleep", "60"], user=UID, group=UID, env={"SLURM_JOB_ID": "4711"})
    yield process
    process.kill()
    process.wait()


@root
def test_the_kernel_says_whether_a_user_has_a_process(someone: subprocess.Popen[bytes]) -> None:
    assert presence.has_processes(UID)
    assert presence.pids_of(UID) == [someone.pid]
    someone.kill()
    someone.wait()
    assert not presence.has_processes(UID)


@root
@pytest.mark.parametrize("many", [0, 10**9], ids=["a crowded node", "a quiet node"])
def test_a_process_of_the_user_is_something_on_any_node(
    someone: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(presence, "MANY", many)
    job = job_of(SLURM_JOB_UID=str(UID))
    assert presence.anything(job)
    someone.kill()
    someone.wait()
    assert not presence.anything(job)


@root
def test_the_kernel_says_whether_a_user_has_more_than_what_is_known(someone: subprocess.Popen[bytes]) -> None:
    assert not presence.has_processes(UID, 1)
    with subprocess.Popen(["sleep", "60"], user=UID, group=UID) as another:
        assert presence.has_processes(UID, 1) and not presence.has_processes(UID, 2)
        another.kill()


class Others:
    """A hierarchy in which the user's other job has these processes, at one look after the other."""

    def __init__(self, *looks: list[int]) -> None:
        self._looks = list(looks)

    def processes(self, path: str) -> list[int]:
        return self._looks.pop(0)


LOOKS: dict[str, tuple[list[list[str]], bool]] = {
    "in another job": ([["someone"], ["someone"]], False),
    "beside root's in it, slurmstepd": ([["someone", "init"], ["someone", "init"]], False),
    "in it before, and not after": ([["someone"], []], True),
    "in no job": ([[]], True),
    "among many, dearer to look at than /proc": ([["someone"] * 10_000], True),
}


@root
@pytest.mark.parametrize("where", LOOKS)
def test_what_is_in_the_users_other_jobs_is_no_stranger(
    someone: subprocess.Popen[bytes], run: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    facts = ENVIRON | {"SLURM_JOB_ID": "4712", "SLURM_JOB_UID": str(UID)}
    jobs.create(jobs.from_environment(facts, 1, "/slurm", "/slurm/uid_61234/job_4712"))
    looks, strangers = LOOKS[where]
    pids = {"someone": someone.pid, "init": 1}
    others = Others(*([pids[name] for name in look] for look in looks))
    monkeypatch.setattr("slurm_hooks.cgroups.of", lambda version: others)
    monkeypatch.setattr(presence, "DEARER", 1 if len(looks[0]) < 10_000 else 10)
    assert presence.has_strangers(job_of(SLURM_JOB_UID=str(UID))) is strangers


@root
def test_a_process_that_hides_its_memory_is_seen() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(4, 0); print(flush=True); input()"
    hidden = subprocess.Popen(
        ["/usr/bin/python3", "-ISc", program], user=UID, group=UID, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert hidden.stdout is not None and hidden.stdout.readline()
        assert os.stat(f"/proc/{hidden.pid}/mem").st_uid == 0
        assert presence.pids_of(UID) == [hidden.pid]
    finally:
        hidden.kill()
        hidden.communicate()


@root
@pytest.mark.parametrize("by", [-250.0, 250.0])
def test_a_process_older_than_the_job_stays_older_whatever_becomes_of_the_clock(
    someone: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    wall = time.time
    for at_the_prolog, at_the_epilog in ((by, 0.0), (0.0, by)):
        time.sleep(0.02)  # a tick, in which starts are counted
        monkeypatch.setattr(time, "time", lambda at_the_prolog=at_the_prolog: wall() + at_the_prolog)
        job = job_of(SLURM_JOB_UID=str(UID))
        monkeypatch.setattr(time, "time", lambda at_the_epilog=at_the_epilog: wall() + at_the_epilog)
        stray = outside.seen(someone.pid)
        assert stray is not None and stray.start < job.uptime
        assert weight(replace(stray, place="/"), ALONE, job) == ""
        assert jobs.clock_moved(job) and not things.is_judged(job)


@root
def test_a_stopped_process_of_the_users_does_not_hold_the_question_up(someone: subprocess.Popen[bytes]) -> None:
    os.kill(someone.pid, signal.SIGSTOP)
    assert presence.has_processes(UID)


@root
def test_what_the_kernel_says_of_a_process(someone: subprocess.Popen[bytes]) -> None:
    stray = outside.seen(someone.pid)
    assert stray is not None
    assert (stray.pid, stray.name, stray.uid, stray.job) == (someone.pid, "sleep", UID, "4711")
    assert abs(stray.start - linux.uptime()) < 60 and presence.began(
        linux.read(f"/proc/{someone.pid}/stat")
    ) == pytest.approx(stray.start, abs=0.1)
    someone.kill()
    os.waitid(os.P_PID, someone.pid, os.WEXITED | os.WNOWAIT)
    assert outside.seen(someone.pid) is None  # a zombie


def test_a_file_that_goes_while_its_directory_is_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    with os.scandir(tmp_path) as entries:
        first, *others = entries

    class Listing(list[os.DirEntry[str]]):
        def __enter__(self) -> Listing:
            os.unlink(first.path)  # after the kernel had listed it
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", lambda _: Listing([first, *others]))
    assert presence.owned(str(tmp_path), os.getuid(), 0.0) == sorted(entry.path for entry in others)

# SPDX-License-Identifier: Apache-2.0
"""Which job a cgroup path belongs to, by the records that Prologs wrote."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm_hooks import jobs
from slurm_hooks.broker.peers import Peer, Registry
from slurm_hooks.errors import Refused
from tests.unit.test_jobs import job_of

HEAD = "/slurm/uid_1001/job_12"


def opened(job_id: int = 12, restart: int = 0, cgroup: str = HEAD) -> jobs.Job:
    """A job with a record."""
    job = job_of(SLURM_JOB_ID=str(job_id), SLURM_JOB_RESTART_COUNT=str(restart))
    job.cgroup = cgroup
    jobs.create(job)
    return job


@pytest.fixture
def registry(run: Path) -> Registry:
    return Registry(str(run))


def key_at(registry: Registry, path: str) -> str | None:
    job = registry.job_at(path)
    return job.key if job else None


@pytest.mark.parametrize(
    "below", ["/step_0", "/step_batch/task_0", "/step_extern", "/step_4294967290/user/task_special"]
)
def test_a_step_of_the_job_is_the_job(registry: Registry, below: str) -> None:
    job = opened()
    assert key_at(registry, HEAD + below) == job.key


@pytest.mark.parametrize(
    "path",
    [HEAD, HEAD + "/" + "c" * 64, HEAD + "/" + "c" * 64 + "/inner", "/slurm/uid_1001/job_1/step_0",
     "/slurm/uid_1001/job_123/step_0", "/other" + HEAD + "/step_0", "/step_0", "", "/", "/system.slice/sshd.service"],
    ids=["the job's own level", "a container", "in a container", "a shorter number", "a longer number", "elsewhere",
         "no head", "nothing", "the root", "a service"],
)  # fmt: skip
def test_anything_else_is_no_job(registry: Registry, path: str) -> None:
    opened()
    assert key_at(registry, path) is None


def test_a_container_that_makes_a_step_below_itself_is_no_job(registry: Registry) -> None:
    opened()
    assert key_at(registry, HEAD + "/" + "c" * 64 + "/step_0") is None


def test_a_job_that_comes_later_is_seen(registry: Registry) -> None:
    opened(12)
    assert key_at(registry, HEAD + "/step_0")
    later = opened(13, cgroup="/slurm/uid_1001/job_13")
    assert key_at(registry, "/slurm/uid_1001/job_13/step_0") == later.key


def test_a_job_that_comes_within_the_same_tick_of_the_clock_is_seen(registry: Registry, run: Path) -> None:
    opened(12)
    assert key_at(registry, HEAD + "/step_0")
    then = os.stat(run / "jobs").st_mtime_ns
    later = opened(13, cgroup="/slurm/uid_1001/job_13")
    os.utime(run / "jobs", ns=(then, then))  # the kernel's clock for files moves every four milliseconds
    assert key_at(registry, "/slurm/uid_1001/job_13/step_0") == later.key


def test_a_job_whose_record_is_still_being_written_is_seen_when_it_is_there(registry: Registry, run: Path) -> None:
    job = opened()
    record = run / "jobs" / job.key / "job"
    text = record.read_text()
    record.unlink()
    assert key_at(registry, HEAD + "/step_0") is None
    record.write_text(text)
    assert key_at(registry, HEAD + "/step_0") == job.key


def test_a_closing_job_is_still_the_job(registry: Registry) -> None:
    job = opened()
    job.state = jobs.CLOSING
    jobs.store(job)
    assert key_at(registry, HEAD + "/step_0") == job.key


def test_a_job_that_is_gone_is_no_job(registry: Registry) -> None:
    job = opened()
    assert key_at(registry, HEAD + "/step_0") == job.key
    jobs.bury(job)
    assert key_at(registry, HEAD + "/step_0") is None


def test_a_requeued_job_at_the_same_place_is_the_new_one(registry: Registry) -> None:
    first = opened(restart=0)
    assert key_at(registry, HEAD + "/step_0") == first.key
    jobs.bury(first)
    second = opened(restart=1)
    assert key_at(registry, HEAD + "/step_0") == second.key


def connected(program: str) -> tuple[subprocess.Popen[bytes], Peer]:
    """A child that connected to us, and the peer as the kernel tells it."""
    door = socket.socket(socket.AF_UNIX)
    door.bind("")  # autobind: an abstract name that nobody has (unix(7))
    door.listen()
    connect = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({door.getsockname()!r}); {program}"
    child = subprocess.Popen([sys.executable, "-IS", "-c", connect], stdin=subprocess.PIPE)
    with door, door.accept()[0] as connection:
        return child, Peer(connection)


def test_limits_are_the_peers_own() -> None:
    child, peer = connected("import resource; resource.setrlimit(7, (33, 44)); input()")
    try:
        # The rlimit comes after the connection, so it may be a moment away.
        deadline = time.monotonic() + 10
        while not re.search(r"^Max open files +33 +44 ", peer.limits(), re.MULTILINE):
            assert time.monotonic() < deadline
    finally:
        child.communicate(b"\n")
        peer.close()


def test_a_peer_that_is_gone_has_none() -> None:
    child, peer = connected("pass")
    child.communicate(b"")
    try:
        with pytest.raises(Refused, match="is gone"):
            peer.limits()
    finally:
        peer.close()

# SPDX-License-Identifier: Apache-2.0
"""The record of a job in the run directory, and the environment that it is made from."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from slurm_hooks import jobs, linux
from slurm_hooks.errors import BadEnvironment, NodeFault

ENVIRON = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_UID": "1001",
    "SLURM_JOB_GID": "1002",
    "SLURM_JOB_USER": "ada",
    "SLURM_JOB_PARTITION": "debug",
    "SLURMD_NODENAME": "cn1",
}


def job_of(**changes: str) -> jobs.Job:
    """The job of an environment; `SLURM_JOB_ID="7"` changes a variable."""
    return jobs.from_environment({**ENVIRON, **changes}, 1, "/slurm", "/slurm/uid_1001/job_4711")


# -- the environment -------------------------------------------------------------------------------


def test_the_environment_describes_the_job() -> None:
    job = job_of(SLURM_JOB_RESTART_COUNT="2")
    assert (job.id, job.restart, job.uid, job.gid, job.user) == (4711, 2, 1001, 1002, "ada")
    assert (job.partition, job.node, job.state, job.verdict) == ("debug", "cn1", jobs.OPEN, "")
    assert job.key == f"4711-2-{linux.boot_id()[:8]}"


def test_a_user_without_a_passwd_entry_goes_by_number() -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != "SLURM_JOB_USER"}
    assert jobs.from_environment({**environ, "SLURM_JOB_UID": "65534"}, 1, "/", "/x").user == "65534"


@pytest.mark.parametrize("value", ["0", "65534", "4294967294"])
def test_any_uid_of_the_kernels_is_a_number(value: str) -> None:
    assert job_of(SLURM_JOB_UID=value).uid == int(value)


@pytest.mark.parametrize(
    "value",
    ["", " ", "abc", "12 ", " 12", "+1", "-1", "1.0", "0x10", "1e3", "12\n", "12\n13", "٣", "²", "9" * 11,
     "9" * 100_000, "1_000", "../4711", "4711/../../etc", "\0"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_JOB_UID", "SLURM_JOB_GID", "SLURM_JOB_RESTART_COUNT"])
def test_what_is_not_a_number_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadEnvironment, match=f"^{name}: not a number: ") as error:
        job_of(**{name: value})
    assert len(str(error.value)) < 100


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_JOB_UID", "SLURM_JOB_GID"])
def test_a_number_that_is_not_there_is_refused_by_name(name: str) -> None:
    environ = {other: value for other, value in ENVIRON.items() if other != name}
    with pytest.raises(BadEnvironment, match=f"^{name}: not set"):
        jobs.from_environment(environ, 1, "/", "/x")


@pytest.mark.parametrize(
    "value",
    ["a/b", "..", ".hidden", "../../etc", "a b", "a\nb", "a\tb", "a\0b", "a;b", "$(id)", "`id`", "a'b", 'a"b', "a*",
     "a\x1b[2J", "a" * 256, "\udcff"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("name", ["SLURM_JOB_USER", "SLURM_JOB_PARTITION", "SLURMD_NODENAME"])
def test_what_is_not_a_name_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadEnvironment, match=f"^{name}: not a name: ") as error:
        job_of(**{name: value})
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "value", ["cn1", "cn-1.cluster.example", "rack1_node2", "ada@example.org", "svc+x", "machine$"]
)
def test_names_of_real_nodes_and_users_are_taken(value: str) -> None:
    assert job_of(SLURM_JOB_USER=value, SLURMD_NODENAME=value).node == value


def test_a_comment_with_newlines_changes_nothing() -> None:
    job = job_of(SLURM_JOB_COMMENT="a\nSLURM_JOB_UID=0\n", SLURM_JOB_NAME="x\ny")
    assert (job.uid, job.user) == (1001, "ada")


# -- the record ------------------------------------------------------------------------------------


def test_a_record_is_what_was_written(run: Path) -> None:
    job = job_of()
    jobs.create(job)
    found = jobs.load(job.key)
    assert found is not None and found.to_json() == job.to_json()


def test_a_record_of_an_older_version_is_read_too(run: Path) -> None:
    job = job_of()
    jobs.create(job)
    path = run / "jobs" / job.key / "job"
    values = json.loads(path.read_text())
    del values["uptime"]
    path.write_text(json.dumps(values))
    found = jobs.load(job.key)
    assert found is not None and found.uptime == pytest.approx(job.uptime, abs=0.1) and not jobs.clock_moved(found)


def test_a_record_is_roots_alone(run: Path) -> None:
    jobs.create(job_of())
    for path in (run / "jobs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE((run / "jobs").stat().st_mode) == 0o700


def test_a_prolog_that_runs_twice_finds_its_own(run: Path) -> None:
    jobs.create(job_of())
    jobs.create(job_of())
    assert len(jobs.keys()) == 1


def test_a_requeued_job_has_a_record_of_its_own(run: Path) -> None:
    jobs.create(job_of())
    jobs.create(job_of(SLURM_JOB_RESTART_COUNT="1"))
    assert [job.restart for job in jobs.everyone()] == [0, 1]


def test_no_record_is_no_error(run: Path) -> None:
    assert jobs.load("1-0-00000000") is None
    assert jobs.keys() == []
    assert jobs.everyone() == []
    assert jobs.latest(1) is None
    assert jobs.had_containers("1-0-00000000") is False


DAMAGE = {
    "empty": "",
    "cut short": '{"id": 4711, "resta',
    "another document": "[]",
    "a field is missing": '{"id": 4711}',
    "not text": "\udcff\udcfe",
}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_a_fault_of_the_node_that_names_the_file(run: Path, text: str) -> None:
    job = job_of()
    jobs.create(job)
    record = run / "jobs" / job.key / "job"
    record.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(NodeFault, match=f"^{record}: the job's record cannot be read"):
        jobs.load(job.key)


def test_a_damaged_record_hides_no_other(run: Path) -> None:
    jobs.create(job_of())
    jobs.create(job_of(SLURM_JOB_ID="5"))
    (run / "jobs" / job_of().key / "job").write_text("")
    assert [job.id for job in jobs.everyone()] == [5]


def test_a_run_directory_that_cannot_be_written_is_a_fault_of_the_node(run: Path) -> None:
    (run / "jobs").write_text("a file in the way")
    with pytest.raises(NodeFault, match="the job's record cannot be written"):
        jobs.create(job_of())


def test_the_latest_start_of_a_job_is_found_by_its_number(run: Path) -> None:
    for restart in ("0", "2", "1"):
        job = job_of(SLURM_JOB_RESTART_COUNT=restart)
        job.opened = 1000.0 + int(restart)
        jobs.create(job)
    found = jobs.latest(4711)
    assert found is not None and found.restart == 2


def test_a_note_of_the_brokers_means_that_there_were_containers(run: Path) -> None:
    job = job_of()
    jobs.create(job)
    assert not jobs.had_containers(job.key)
    (run / "jobs" / job.key / "containers" / "nonce").write_text("{}")
    assert jobs.had_containers(job.key)


# -- the tombstone ---------------------------------------------------------------------------------


def buried() -> jobs.Job:
    """A job whose Epilog found nothing left."""
    job = job_of()
    jobs.create(job)
    job.verdict, job.closed = "clean", job.opened
    jobs.bury(job)
    return job


def test_a_job_that_is_gone_leaves_its_verdict_and_nothing_else(run: Path) -> None:
    job = job_of()
    jobs.create(job)
    (run / "jobs" / job.key / "containers" / "nonce").write_text("{}")
    (run / "jobs" / job.key / "ops" / "greeted").write_text("")
    job.verdict = "clean"
    jobs.bury(job)
    assert jobs.keys() == [] and jobs.everyone() == []
    found = jobs.load(job.key)
    assert found is not None and (found.state, found.verdict) == (jobs.GONE, "clean")


@pytest.mark.parametrize("place", ["containers", "ops"])
@pytest.mark.parametrize("what", ["dropped", "written"])
def test_a_job_is_buried_also_while_the_broker_hears_of_a_containers_end(
    run: Path, monkeypatch: pytest.MonkeyPatch, place: str, what: str
) -> None:
    """At a container's end the broker drops its note and adds to the account, whether the job is over or not."""
    job = job_of()
    jobs.create(job)
    notes = run / "jobs" / job.key / place
    (notes / "a").touch()
    listed = os.listdir
    heard: list[str] = []

    def meanwhile(path: str) -> list[str]:
        names = listed(path)
        if Path(path) == notes and not heard:
            heard.append(what)
            if what == "dropped":
                (notes / "a").unlink()
            else:
                (notes / "b").touch()
        return names

    monkeypatch.setattr(os, "listdir", meanwhile)
    jobs.bury(job)
    assert heard and jobs.keys() == []


def test_a_job_may_be_buried_again(run: Path) -> None:
    jobs.bury(buried())
    assert len(jobs.tombstones()) == 1


def test_a_job_that_is_gone_is_still_known_by_its_number(run: Path) -> None:
    buried()
    found = jobs.latest(4711)
    assert found is not None and found.state == jobs.GONE


def test_a_damaged_tombstone_is_none(run: Path) -> None:
    job = buried()
    (run / "gone" / job.key).write_text("{")
    assert jobs.load(job.key) is None
    assert jobs.tombstones() == []


@pytest.mark.parametrize(
    ("age", "kept"), [(jobs.TOMBSTONE_SECONDS + 60, False), (jobs.TOMBSTONE_SECONDS - 60, True)], ids=["old", "young"]
)
def test_a_tombstone_is_kept_for_a_day(run: Path, age: float, kept: bool) -> None:  # noqa: FBT001
    job = buried()
    os.utime(run / "gone" / job.key, (time.time() - age,) * 2)
    jobs.sweep()
    assert (jobs.load(job.key) is not None) is kept


def test_of_too_many_tombstones_the_oldest_go(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_TOMBSTONES", 2)
    job = buried()
    for age in (30, 10, 20):
        (run / "gone" / f"{age}-0-x").write_text(job.to_json())
        os.utime(run / "gone" / f"{age}-0-x", (time.time() - age,) * 2)
    jobs.sweep()
    assert sorted(path.name for path in (run / "gone").iterdir()) == sorted([job.key, "10-0-x"])


@pytest.mark.parametrize(("age", "kept"), [(jobs.TOMBSTONE_SECONDS + 60, False), (60, True)], ids=["old", "young"])
def test_a_tombstone_that_a_killed_epilog_was_writing_is_none_and_is_swept(run: Path, age: float, kept: bool) -> None:  # noqa: FBT001
    job = buried()
    job.closed -= 2 * jobs.TOMBSTONE_SECONDS
    half = run / "gone" / f"{job.key}.77{linux.HALF}"
    half.write_text(job.to_json())
    os.utime(half, (time.time() - age,) * 2)
    assert [one.closed for one in jobs.tombstones()] != [job.closed] and len(jobs.tombstones()) == 1
    jobs.sweep()
    assert half.exists() is kept


@pytest.mark.parametrize("state", [jobs.OPEN, jobs.CLOSING, jobs.GONE])
def test_the_record_of_a_job_that_is_not_clean_is_never_swept(run: Path, state: str) -> None:
    job = job_of()
    job.state, job.verdict, job.closed = state, "left pid 1", job.opened - 10 * jobs.TOMBSTONE_SECONDS
    jobs.create(job)
    jobs.sweep()
    assert jobs.load(job.key) is not None


def test_a_record_is_written_whole(run: Path) -> None:
    job = job_of()
    jobs.create(job)
    record = run / "jobs" / job.key
    assert json.loads((record / "job").read_text())["cgroup"] == job.cgroup
    assert sorted(path.name for path in record.iterdir()) == ["containers", "job", "ops"]  # nothing half-written beside


def test_the_runs_of_a_job_that_are_not_gone_are_found_in_their_order(run: Path) -> None:
    for restart in ("10", "2"):
        jobs.create(job_of(SLURM_JOB_RESTART_COUNT=restart))
    jobs.create(job_of(SLURM_JOB_ID="47"))
    assert [name.split("-")[:2] for name in jobs.runs(4711)] == [["4711", "2"], ["4711", "10"]]

# SPDX-License-Identifier: Apache-2.0
"""What the sweep holds for over, and what it leaves alone. That it ends the one and not the other: tests/cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks import cgroups, config, controller, epilog, escapes, events, jobs, linux, sweep
from slurm_hooks.cgroups.v1 import V1
from slurm_hooks.controller import Here
from slurm_hooks.errors import HooksError, NodeFault
from tests.unit.test_jobs import job_of

OTHER_BOOT = "0badc0de-0000-0000-0000-000000000000"
CGROUP = "/slurm_cn1/uid_1001/job_4711"


class Slurm:
    """slurmctld, as one that knows these jobs on this node; None: it does not answer."""

    def __init__(self, here: dict[int, Here] | None) -> None:
        self.here = here
        self.asked = 0

    def drain(self, node: str, reason: str) -> None:
        raise AssertionError("nothing here drains")

    def is_alive(self, job: int) -> bool:
        return job in self.on_node("cn1")

    def on_node(self, node: str) -> dict[int, Here]:
        self.asked += 1
        if self.here is None:
            raise NodeFault("jobs of cn1", "Unable to contact slurm controller")
        return self.here


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the runs that were ended, late."""
    found: list[str] = []

    def settle(job: jobs.Job, *, late: bool) -> tuple[str, float]:
        assert late
        found.append(job.key)
        job.verdict = "clean"
        jobs.bury(job)
        return "clean", 0.1

    monkeypatch.setattr(epilog, "settled", settle)
    monkeypatch.setattr(sweep, "orphans", dict)
    monkeypatch.setattr(sweep, "lost_networks", lambda *, dry_run: iter(()))
    return found


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Here] | None], Slurm]:
    def connected(here: dict[int, Here] | None) -> Slurm:
        known = Slurm(here)
        monkeypatch.setattr(controller, "connect", lambda: known)
        return known

    return connected


def opened(restart: int = 0, age: float = 3600, **changes: object) -> jobs.Job:
    """A run whose Prolog was `age` seconds ago."""
    job = job_of(SLURM_JOB_RESTART_COUNT=str(restart))
    job.opened -= age
    for name, value in changes.items():
        setattr(job, name, value)
    jobs.create(job)
    return job


Connect = Callable[[dict[int, Here] | None], Slurm]


def swept(older_than: float = 300) -> dict[str, str]:
    """What the sweep makes of each run, by its restart count."""
    return {one.key.split("-")[1]: one.action for one in sweep.sweep(older_than)}


def test_a_run_that_slurm_knows_no_more_is_over(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({})
    job = opened()
    assert swept() == {"0": "swept"} and settled == [job.key]


@pytest.mark.parametrize("state", ["RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING"])
def test_a_run_that_slurm_has_here_is_not(run: Path, settled: list[str], slurm: Connect, state: str) -> None:
    slurm({4711: Here(0, state)})
    opened()
    assert swept() == {"0": "kept"} and settled == []


def test_a_young_record_is_not_even_asked_for(run: Path, settled: list[str], slurm: Connect) -> None:
    known = slurm({})
    opened(age=10)
    assert swept() == {"0": "kept"} and known.asked == 0
    assert swept(older_than=0) == {"0": "swept"}


def test_the_time_of_its_end_counts_for_a_run_that_has_ended(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({})
    job = opened(state=jobs.CLOSING)
    job.closed = job.opened + 3590
    jobs.store(job)
    assert swept() == {"0": "kept"}


def test_where_slurm_cannot_be_asked_nothing_is_touched(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm(None)
    opened()
    opened(boot=OTHER_BOOT)
    with pytest.raises(NodeFault, match="Unable to contact"):
        swept()
    assert settled == []


def test_the_earlier_run_of_a_job_that_runs_again_is_over(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({4711: Here(1, "RUNNING")})
    first, _ = opened(), opened(1, age=3000)
    assert swept() == {"0": "swept", "1": "kept"} and settled == [first.key]


def test_so_it_is_where_each_run_has_a_cgroup_of_its_own(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({4711: Here(1, "RUNNING")})
    first, _ = opened(cgroup="/scope/s4GHM8H70RKT00"), opened(1, age=3000, cgroup="/scope/s4GHM8H7QXPN00")
    assert swept() == {"0": "swept", "1": "kept"} and settled == [first.key]


def test_a_later_run_without_a_record_cannot_be_told_apart(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({4711: Here(1, "RUNNING")})
    opened()
    assert swept() == {"0": "kept"}


def test_a_requeue_is_counted_before_the_run_is_over(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({4711: Here(1, "COMPLETING")})
    opened()
    assert swept() == {"0": "kept"}


def test_a_run_of_another_boot_is_over_when_slurm_has_seen_it(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({4711: Here(0, "RUNNING")})  # it has not heard of the reboot yet
    opened(boot=OTHER_BOOT)
    assert swept() == {"0": "kept"}
    slurm({4711: Here(1, "RUNNING")})
    assert swept() == {"0": "swept"}


def test_a_damaged_record_is_told_and_hides_no_other(
    run: Path, settled: list[str], slurm: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm({})
    damaged, job = opened(1), opened()
    (run / "jobs" / damaged.key / "job").write_text("{")
    assert sweep.main(older_than=300, dry_run=False, as_json=False) == 0
    assert f"jobs/{damaged.key}/job: the job's record cannot be read" in capsys.readouterr().out
    assert settled == [job.key] and jobs.keys() == [damaged.key]


def test_half_a_record_is_removed_when_it_is_old(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({})
    half = run / "jobs" / "4711-0-0badc0de"
    (half / "containers").mkdir(parents=True)
    assert swept() == {} and half.exists()  # a Prolog may be writing it
    assert swept(older_than=0) == {"0": "swept"} and not half.exists()


def test_an_epilog_at_work_is_not_disturbed(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({})
    job = opened(state=jobs.CLOSING)
    with linux.Locked(jobs.directory(job.key)) as lock:
        assert lock.held and swept() == {"0": "kept"}
    assert swept() == {"0": "swept"}


def test_a_launch_that_hangs_keeps_no_job_alive(run: Path, settled: list[str], slurm: Connect) -> None:
    slurm({})
    with linux.Locked(jobs.directory(opened().key), shared=True):
        assert swept() == {"0": "swept"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a process of root's")
@pytest.mark.parametrize(
    ("name", "uid", "found"), [("slurmstepd", 0, True), ("slurmstepd", 1, False), ("sh", 0, False)]
)
def test_slurmstepd_is_told_by_its_name_and_owner(
    monkeypatch: pytest.MonkeyPatch, name: str, uid: int, *, found: bool
) -> None:
    child = os.fork()
    if child == 0:
        try:
            Path("/proc/self/comm").write_text(name)
            os.setresuid(uid, uid, uid)
            os.kill(os.getpid(), 19)
        finally:
            os._exit(1)
    os.waitpid(child, os.WUNTRACED)

    class Pids(V1):
        def processes(self, path: str) -> list[int]:
            return [child]

    monkeypatch.setattr(cgroups, "of", lambda version: Pids("/nowhere"))
    try:
        assert sweep.stepd_of(job_of()) == (f"slurmstepd is there, pid {child}" if found else "")
        assert bool(sweep.may_live(opened(), 0)) is found
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_dry_run_tells_and_does_nothing(
    run: Path, settled: list[str], slurm: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm({})
    job = opened()
    assert sweep.main(older_than=300, dry_run=True, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(one["key"], one["action"]) for one in said["runs"]] == [(job.key, "over")]
    assert said["runs"][0]["plan"][0] == f"end every process in {job.cgroup}"
    assert settled == [] and not list(events.read())


def test_a_broken_off_sweep_says_so_and_is_a_1(
    run: Path, settled: list[str], slurm: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm(None)
    opened()
    assert sweep.main(older_than=300, dry_run=False, as_json=False) == 1
    assert capsys.readouterr().out == (
        "slurm-hooks sweep: nothing more is touched: jobs of cn1: Unable to contact slurm controller\n"
    )
    assert [event["event"] for event in events.read()] == ["swept"]


def test_it_is_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(HooksError, match=r"^sweep: it needs root"):
        sweep.main(older_than=300, dry_run=False, as_json=False)


# -- what drains the node --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "choice", "drains"),
    [("", "drain", True), ("left pid 2", "drain", True), ("left pid 1", "drain", False), ("", "report", False)],
    ids=["first seen", "another thing", "seen before", "the site's choice"],
)
def test_what_cannot_be_ended_drains_once(
    run: Path, slurm: Connect, monkeypatch: pytest.MonkeyPatch, before: str, choice: str, *, drains: bool
) -> None:
    drained: list[str] = []
    monkeypatch.setattr(sweep, "orphans", dict)
    monkeypatch.setattr(sweep, "lost_networks", lambda *, dry_run: iter(()))
    monkeypatch.setattr(epilog, "settled", lambda job, *, late: ("left pid 1", 0.1))
    monkeypatch.setattr(epilog, "drain", lambda job, why: drained.append(why))
    monkeypatch.setattr(config, "for_epilog", lambda: {"epilog": {"sweep": choice}})
    slurm({})
    opened(state=jobs.CLOSING, verdict=before)
    assert sweep.main(older_than=0, dry_run=False, as_json=False) == 1
    assert drained == (["left pid 1"] if drains else [])


# -- containers without a record -------------------------------------------------------------------


class Dockerd:
    """What dockerd says of a container."""

    def __init__(self, parent: str, user: str) -> None:
        self.said = {"HostConfig": {"CgroupParent": parent}, "Config": {"User": user}}

    def inspect(self, container: str) -> dict[str, Any]:
        return self.said


def container(key: str = "4711-2-0badc0de", **more: object) -> dict[str, Any]:
    """A container as dockerd lists it."""
    labels = {"slurm-hooks.job": key, "slurm-hooks.nonce": "cd" * 16}
    return {"Id": "ab" * 32, "Image": "img", "Created": 1_700_000_000, "Labels": labels, **more}


def told(monkeypatch: pytest.MonkeyPatch, parent: str, user: str = "1001:1002") -> jobs.Job:
    monkeypatch.setattr(sweep, "_engine", lambda: Dockerd(parent, user))
    return sweep.described("4711-2-0badc0de", [container()])


@pytest.mark.parametrize(
    ("parent", "version", "root"),
    [
        (CGROUP, 1, "/slurm_cn1"),
        ("/slurm/uid_1001/job_4711", 1, "/slurm"),
        ("/system.slice/cn1_slurmstepd.scope/job_4711", 2, "/system.slice/cn1_slurmstepd.scope"),
        ("/init/system.slice/slurmstepd.scope/job_4711", 2, "/init/system.slice/slurmstepd.scope"),
        ("/system.slice/slurmstepd.scope/s8X2B7K3PQ4M10", 2, "/system.slice/slurmstepd.scope"),
    ],
)
def test_a_container_tells_of_its_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, parent: str, version: int, root: str
) -> None:
    job = told(monkeypatch, parent)
    assert (job.key, job.uid, job.gid, job.state) == ("4711-2-0badc0de", 1001, 1002, jobs.CLOSING)
    assert (job.cgroup, job.version, job.root) == (parent, version, root)


@pytest.mark.parametrize(
    "parent",
    ["", "/", "/system.slice", "/system.slice/sshd.service", "/docker", "/system.slice/slurmstepd.scope",
     "/system.slice/slurmstepd.scope/system", "/system.slice/slurmstepd.scope/job_4711/step_0",
     "/system.slice/slurmstepd.scope/job_4712", "/slurm", "/slurm/uid_1001", "/slurm/uid_1001/job_4712",
     "/slurm/uid_1001/job_4711/../job_4712", "/system.slice/slurmstepd.scope/..", "slurm/uid_1/job_4711"],
)  # fmt: skip
def test_what_is_no_cgroup_of_the_job_is_never_ended(run: Path, monkeypatch: pytest.MonkeyPatch, parent: str) -> None:
    with pytest.raises(ValueError, match="is no cgroup of a job"):
        told(monkeypatch, parent)


@pytest.mark.parametrize("user", ["", "root", "1001", ":", "1001:staff"])
def test_what_runs_as_no_jobs_user_is_none_of_ours(run: Path, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    with pytest.raises(ValueError, match="no job's user"):
        told(monkeypatch, CGROUP, user)


def test_an_adopted_run_is_one_whose_epilog_was_broken_off(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = told(monkeypatch, CGROUP)
    sweep.adopt(job, [container()])
    (known,) = jobs.everyone()
    assert (known.key, known.state) == (job.key, jobs.CLOSING)
    assert jobs.had_containers(job.key)
    assert [*escapes.noted(job, str(run))] == ["ab" * 32]


@pytest.mark.parametrize(
    ("alive", "age", "action"), [(False, 3600, "swept"), (True, 3600, "kept"), (False, 10, "kept")]
)
def test_containers_without_a_record_are_ended_where_their_job_is_over(
    run: Path,
    settled: list[str],
    slurm: Connect,
    monkeypatch: pytest.MonkeyPatch,
    age: float,
    action: str,
    *,
    alive: bool,
) -> None:
    one = container(Created=job_of().opened - age)
    monkeypatch.setattr(sweep, "orphans", lambda: {"4711-2-0badc0de": [one]})
    monkeypatch.setattr(sweep, "_engine", lambda: Dockerd(CGROUP, "1001:1001"))
    slurm({4711: Here(3, "RUNNING")} if alive else {})
    assert swept() == {"2": action}
    assert settled == (["4711-2-0badc0de"] if action == "swept" else [])

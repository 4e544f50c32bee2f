# SPDX-License-Identifier: Apache-2.0
"""Two runs at one cgroup path: what ends the earlier one never touches the later one's processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurm_hooks import cgroups, epilog, escapes, jobs, presence, teardown
from slurm_hooks.broker import keeper
from slurm_hooks.cgroups.v1 import V1
from tests.unit.test_jobs import job_of

CONTAINER = "ab" * 32


def opened(restart: int, start: int = 0, **changes: object) -> jobs.Job:
    """A run whose Prolog has been, each a second after the one before."""
    job = job_of(SLURM_JOB_RESTART_COUNT=str(restart), SLURM_JOB_START_TIME=str(start))
    job.opened = 1000.0 + restart
    for name, value in changes.items():
        setattr(job, name, value)
    jobs.create(job)
    return job


def noted(run: Path, job: jobs.Job) -> None:
    """As the broker notes a container."""
    (run / "jobs" / job.key / "containers" / "nonce").write_text(json.dumps({"id": CONTAINER}))


def test_a_run_alone_holds_its_cgroup(run: Path) -> None:
    assert jobs.holds_cgroup(opened(0))


def test_of_two_runs_the_later_one_holds_it(run: Path) -> None:
    first, second = opened(0), opened(1)
    assert (jobs.holds_cgroup(first), jobs.holds_cgroup(second)) == (False, True)


def test_which_is_later_is_slurmctlds_to_say(run: Path) -> None:
    first, second = opened(0, 100), opened(1, 200, opened=500.0)  # the node's clock went back
    assert (jobs.holds_cgroup(first), jobs.holds_cgroup(second)) == (False, True)


def test_a_number_that_slurm_gave_again_is_not_an_earlier_run(run: Path) -> None:
    before, now = opened(1, 100), opened(0, 200)
    assert (jobs.holds_cgroup(before), jobs.holds_cgroup(now)) == (False, True)


def test_a_later_run_that_is_over_has_left_the_cgroup_to_it(run: Path) -> None:
    first = opened(0)
    opened(1, state=jobs.CLOSING)
    assert jobs.holds_cgroup(first)


def test_where_each_run_has_a_cgroup_of_its_own_it_keeps_it(run: Path) -> None:
    first, second = opened(0, cgroup="/scope/s4GHM8H70RKT00"), opened(1, cgroup="/scope/s4GHM8H7QXPN00")
    assert jobs.holds_cgroup(first) and jobs.is_followed(first)
    assert jobs.holds_cgroup(second) and not jobs.is_followed(second)


def test_another_job_of_the_user_takes_it_from_nobody(run: Path) -> None:
    first = opened(0)
    jobs.create(job_of(SLURM_JOB_ID="4712", SLURM_JOB_RESTART_COUNT="1"))
    assert jobs.holds_cgroup(first)


def test_a_later_run_whose_record_is_damaged_may_be_there(run: Path) -> None:
    first, second = opened(0), opened(1)
    (run / "jobs" / second.key / "job").write_text("{")
    assert not jobs.holds_cgroup(first)
    (run / "jobs" / first.key / "job").write_text("{")
    assert jobs.holds_cgroup(second)


def test_a_run_of_another_boot_holds_nothing_and_takes_nothing(run: Path) -> None:
    before, now = opened(0, boot="0badc0de"), opened(1)
    assert (jobs.holds_cgroup(before), jobs.holds_cgroup(now)) == (False, True)
    later = opened(2, boot="0badc0de")
    assert (jobs.holds_cgroup(later), jobs.holds_cgroup(now)) == (False, True)


def test_the_plan_for_the_earlier_run_ends_its_own_containers_only(run: Path) -> None:
    first = opened(0)
    noted(run, first)
    whole = list(map(str, teardown.plan(first, str(run))))
    assert (whole[0], whole[-1]) == (
        f"end every process in {first.cgroup}",
        f"remove the cgroup {first.cgroup}",
    )
    opened(1)
    own = list(map(str, teardown.plan(first, str(run))))
    assert own[0] == f"end every process in {first.cgroup}/{CONTAINER}"
    assert own[-1] == f"remove the cgroup {first.cgroup}/{CONTAINER}"
    assert [line.replace(f"/{CONTAINER}", "") for line in own] == whole  # nothing else is another


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> V1:
    """Hierarchies of a node, in the place of the machine's."""
    for name in ("freezer", "pids"):
        (tmp_path / name / "slurm" / "uid_1001" / "job_4711").mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").touch()
    found = V1(str(tmp_path))
    monkeypatch.setattr(cgroups, "of", lambda version, mount="": found)
    return found


def test_an_empty_cgroup_of_the_later_run_is_neither_removed_nor_blamed(run: Path, v1: V1) -> None:
    first, second = opened(0), opened(1)
    assert epilog.is_gone(first)
    assert escapes.directories(first, str(run)) == []
    assert v1.exists(second.cgroup)
    assert [left.what for left in escapes.directories(second, str(run))] == [second.cgroup]
    assert epilog.is_gone(second) and not v1.exists(second.cgroup)


def test_a_container_goes_and_the_cgroup_above_it_stays(v1: V1) -> None:
    path = "/slurm/uid_1001/job_4711"
    for name in ("freezer", "pids"):
        Path(v1.mount, f"{name}{path}/{CONTAINER}").mkdir()
    assert v1.remove("/slurm", f"{path}/{CONTAINER}") == []
    assert not v1.exists(f"{path}/{CONTAINER}") and v1.exists(path)  # with its pids.max, before its first process


def test_the_figures_of_the_later_run_are_not_the_earlier_ones(run: Path, v1: V1) -> None:
    first = opened(0)
    Path(v1.mount, f"pids{first.cgroup}/pids.peak").write_text("40")
    assert epilog.peaks_of(first) == {"pids": 40}
    opened(1)
    assert epilog.peaks_of(first) == {}


def test_steps_are_held_to_the_figure_of_the_run_that_is_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    class Held(V1):
        def hold_steps(self, path: str, figure: int) -> None:
            held.append(figure)

    monkeypatch.setattr(cgroups, "of", lambda version, mount="": Held("/nowhere"))
    opened(1, figure=200)
    opened(0, figure=100)
    keeper._hold_steps()
    assert held == [200]


def test_what_is_beside_a_run_of_another_boot_is_not_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "is_crowded", lambda: False)  # the machine may be
    monkeypatch.setattr(presence, "pids_of", lambda uid: [1])
    monkeypatch.setattr(presence, "named_after", lambda user, since: ["/var/spool/cron/ada"])
    assert presence.anything(opened(0))
    before = opened(1, boot="0badc0de")
    assert not presence.anything(before)
    assert escapes.beside(before) == []

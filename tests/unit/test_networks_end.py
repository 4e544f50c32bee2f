# SPDX-License-Identifier: Apache-2.0
"""The end of a job's restricted networks: the Epilog's operation, what it finds left, and what the sweep finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from slurm_hooks import bridges, escapes, jobs, sweep, teardown
from slurm_hooks.cgroups.v1 import V1
from slurm_hooks.engine import Engine
from slurm_hooks.errors import NodeFault
from tests.unit.test_jobs import job_of


class Dockerd:
    """Its networks by id → options; how often it says that a container is still in one."""

    def __init__(self, *ids: str, busy: int = 0) -> None:
        self.ids, self.busy = list(ids), busy
        self.label = "slurm-hooks.job=4711-0-0123abcd"
        self.away = False

    def networks(self, label: str = "slurm-hooks.job") -> list[dict[str, Any]]:
        if self.away:
            raise NodeFault("dockerd", "does not answer")
        if label not in ("slurm-hooks.job", self.label):
            return []
        key = self.label.partition("=")[2]
        return [{"Id": one, "Labels": {"slurm-hooks.job": key}, "Options": {bridges.OPTION: one}} for one in self.ids]

    def remove_network(self, network: str) -> str:
        if self.busy:
            self.busy -= 1
            return "network has active endpoints"
        self.ids.remove(network)
        return ""


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's interfaces, as files; a bridge that is removed goes."""
    made = tmp_path / "links"
    made.mkdir()
    for name in ("lo", "eth0"):
        (made / name).touch()
    monkeypatch.setattr(bridges, "of_job", lambda job: [one for one in os.listdir(made) if bridges.is_jobs(one, job)])
    monkeypatch.setattr(
        bridges, "every", lambda: {one: job for one in os.listdir(made) if (job := bridges.job_of(one)) is not None}
    )
    monkeypatch.setattr(bridges, "remove", lambda name: (made / name).unlink())
    return made


def removed(dockerd: Dockerd) -> teardown.Node:
    node = teardown.Node(V1("/nowhere"), "", engine=cast(Engine, dockerd))
    teardown.RemoveNetworks(4711, "4711-0-0123abcd").do(node)
    return node


def test_a_jobs_networks_go_once_dockerd_lets_go_of_them() -> None:
    dockerd = Dockerd("a", "b", busy=3)
    removed(dockerd)
    assert dockerd.ids == []


def test_dockerd_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "NETWORK_SECONDS", 0.2)
    dockerd = Dockerd("a", busy=1000)
    removed(dockerd)
    assert dockerd.ids == ["a"]


def test_a_bridge_that_dockerd_knows_nothing_of_goes_and_no_other(links: Path) -> None:
    for name in ("shn1a2b4711", "shn1a2b4712"):
        (links / name).touch()
    removed(Dockerd())
    assert sorted(os.listdir(links)) == ["eth0", "lo", "shn1a2b4712"]


def test_a_dockerd_that_goes_meanwhile_is_lost(links: Path) -> None:
    (links / "shn1a2b4711").touch()
    dockerd = Dockerd("a")
    dockerd.away = True
    assert removed(dockerd).engine is None
    assert (links / "shn1a2b4711").exists()


def test_a_job_without_a_network_pays_for_none(run: Path, links: Path) -> None:
    job = job_of()
    jobs.create(job)
    assert not escapes.has_networks(job, str(run)) and not jobs.had_containers(job.key)
    assert not any(isinstance(one, teardown.RemoveNetworks) for one in teardown.plan(job, str(run)))


def test_a_note_of_a_network_is_reason_enough_for_the_whole_teardown(run: Path, links: Path) -> None:
    job = job_of()
    jobs.create(job)
    Path(jobs.networks(job.key)).mkdir()
    Path(jobs.networks(job.key), "licenses").touch()
    assert jobs.had_containers(job.key)
    assert any(isinstance(one, teardown.RemoveNetworks) for one in teardown.plan(job, str(run)))
    jobs.bury(job)
    assert not Path(jobs.directory(job.key)).exists()


def test_a_bridge_that_stays_is_told_but_not_a_later_runs(run: Path, links: Path) -> None:
    first = job_of(SLURM_JOB_RESTART_COUNT="0")
    jobs.create(first)
    (links / f"shn1a2b{first.id}").touch()
    assert [one.what for one in escapes.everything(first, [], {}, run=str(run)) if one.kind == "network"] == [
        f"the bridge shn1a2b{first.id}"
    ]
    later = job_of(SLURM_JOB_RESTART_COUNT="1")
    later.opened += 1
    jobs.create(later)
    assert not [one for one in escapes.everything(first, [], {}, run=str(run)) if one.kind == "network"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_sweep_removes_what_no_record_owns(
    run: Path, links: Path, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool
) -> None:
    dockerd = Dockerd("shn1a2b4711")
    monkeypatch.setattr(sweep, "_engine", lambda: dockerd)
    for name in ("shn1a2b4711", "shn1a2b4799"):
        (links / name).touch()
    said = [(one.key, one.action) for one in sweep.lost_networks(dry_run=dry_run)]
    word = "over" if dry_run else "swept"
    assert said == [("4711-0-0123abcd", word), ("4799-?", word)]
    assert (links / "shn1a2b4799").exists() is dry_run and (dockerd.ids == []) is not dry_run


def test_the_sweep_leaves_what_a_record_owns(run: Path, links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of()
    jobs.create(job)
    dockerd = Dockerd("shn1a2b4711")
    dockerd.label = f"slurm-hooks.job={job.key}"
    monkeypatch.setattr(sweep, "_engine", lambda: dockerd)
    (links / f"shn3c4d{job.id}").touch()
    assert list(sweep.lost_networks(dry_run=False)) == []
    assert dockerd.ids


def test_the_sweep_leaves_the_network_of_a_job_that_begins_meanwhile(
    run: Path, links: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of()
    (links / f"shn3c4d{job.id}").touch()

    class Meanwhile(Dockerd):
        def networks(self, label: str = "slurm-hooks.job") -> list[dict[str, Any]]:
            jobs.create(job)
            return super().networks(label)

    dockerd = Meanwhile("shn1a2b4711")
    dockerd.label = f"slurm-hooks.job={job.key}"
    monkeypatch.setattr(sweep, "_engine", lambda: dockerd)
    assert list(sweep.lost_networks(dry_run=False)) == []
    assert dockerd.ids


def test_a_bridge_that_the_kernel_keeps_is_told_of_and_ends_no_sweep(
    run: Path, links: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(name: str) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(sweep, "_engine", Dockerd)
    monkeypatch.setattr(bridges, "remove", busy)
    (links / "shn1a2b4799").touch()
    (found,) = sweep.lost_networks(dry_run=False)
    assert found.action == "kept" and "busy" in found.why

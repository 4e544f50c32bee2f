# SPDX-License-Identifier: Apache-2.0
"""A suspended job's containers freeze and thaw with its steps, on trees of plain files that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_hooks import jobs
from slurm_hooks.broker import suspend
from tests.unit.test_jobs import job_of

JOB = "/scope/job_1"


class Tree:
    """A job's cgroups; a freeze switch at each."""

    def __init__(self, top: Path, version: int) -> None:
        self.version, self.top = version, top / "freezer" if version == 1 else top
        self.job = job_of(SLURM_JOB_ID="1")
        self.job.version, self.job.cgroup = version, JOB
        jobs.create(self.job)
        self.mount = str(top)

    def switch(self, name: str) -> Path:
        directory = self.top / JOB[1:] / name
        if self.version == 2 and name.startswith("step_"):
            directory /= "user"
        directory.mkdir(parents=True, exist_ok=True)
        return directory / ("freezer.self_freezing" if self.version == 1 else "cgroup.freeze")

    def put(self, **states: str) -> None:
        for name, state in states.items():
            self.switch(name).write_text(state + "\n")
            if self.version == 1:
                (self.switch(name).parent / "freezer.state").write_text("FROZEN" if state == "1" else "THAWED")

    def state(self, name: str) -> bool:
        if self.version == 1:
            return (self.switch(name).parent / "freezer.state").read_text().strip() == "FROZEN"
        return self.switch(name).read_text().strip() == "1"

    def follow(self) -> None:
        suspend.follow(self.job, self.mount)


@pytest.fixture(params=[1, 2])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    """On both versions."""
    return Tree(tmp_path / "cgroup", request.param)


def test_containers_freeze_with_all_steps_and_thaw_with_them(tree: Tree) -> None:
    tree.put(step_batch="1", step_extern="1", c1="0")
    tree.follow()
    assert tree.state("c1")
    tree.put(step_batch="0", step_extern="0")
    tree.follow()
    assert not tree.state("c1")


def test_one_step_that_runs_keeps_them_running(tree: Tree) -> None:
    tree.put(step_batch="1", step_0="0", c1="0")
    tree.follow()
    assert not tree.state("c1")


def test_a_job_without_steps_is_not_suspended(tree: Tree) -> None:
    tree.put(c1="0")
    tree.follow()
    assert not tree.state("c1")


def test_what_the_user_paused_stays_paused(tree: Tree) -> None:
    tree.put(step_batch="1", paused="1", c1="0")
    tree.follow()
    tree.put(step_batch="0")
    tree.follow()
    assert tree.state("paused") and not tree.state("c1")


def test_a_container_that_comes_late_freezes_too(tree: Tree) -> None:
    tree.put(step_batch="1", c1="0")
    tree.follow()
    tree.put(late="0")
    tree.follow()
    assert tree.state("late")

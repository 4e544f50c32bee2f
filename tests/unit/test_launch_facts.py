# SPDX-License-Identifier: Apache-2.0
"""What the broker tells the knobs of the asker: the job's own bounds, read from the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm_hooks import cgroups
from slurm_hooks.broker import launch
from slurm_hooks.broker.peers import Asker
from slurm_hooks.cgroups.v1 import V1
from slurm_hooks.cgroups.v2 import V2
from slurm_hooks.knobs.contract import JobFacts
from tests.unit.test_cgroup_figures import NO_LIMIT_V1, written
from tests.unit.test_jobs import job_of

JOB = "slurm/uid_1001/job_4711"


def facts(monkeypatch: pytest.MonkeyPatch, hierarchy: V1 | V2, limits: str = "") -> JobFacts:
    monkeypatch.setattr(cgroups, "of", lambda version: hierarchy)
    return launch.facts_of(Asker(1, 1001, 1001, (1001,), job_of(), limits=limits), "n")


def test_memory_is_what_slurm_gave_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v2 = V2(written(tmp_path / "2", {f"{JOB}/memory.max": "4000000\n"}))
    v1 = V1(written(tmp_path / "1", {f"memory/{JOB}/memory.limit_in_bytes": "4000000\n"}))
    assert {facts(monkeypatch, hierarchy).memory for hierarchy in (v1, v2)} == {4_000_000}


def test_without_a_limit_it_is_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v2 = V2(written(tmp_path / "2", {f"{JOB}/memory.max": "max\n"}))
    v1 = V1(written(tmp_path / "1", {f"memory/{JOB}/memory.limit_in_bytes": NO_LIMIT_V1}))
    node = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert {facts(monkeypatch, hierarchy).memory for hierarchy in (v1, v2)} == {node}


def test_limits_are_those_of_the_process_that_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Max open files            10                   20                   files     \n"
    assert facts(monkeypatch, V2(str(tmp_path)), said).limits == {"nofile": (10, 20)}

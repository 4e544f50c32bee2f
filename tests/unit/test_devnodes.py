# SPDX-License-Identifier: Apache-2.0
"""Device nodes and what they stand for; and the fence of cgroup v1 that runc must get through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm_hooks import devnodes
from slurm_hooks.cgroups.v1 import V1
from slurm_hooks.cgroups.v2 import V2

JOB = "/slurm/uid_1001/job_4711"


def test_a_process_sees_the_usual_nodes_by_their_numbers() -> None:
    found = devnodes.of_process(os.getpid())
    assert {path: found.get(path) for path in ("/dev/null", "/dev/zero", "/dev/full")} == {
        "/dev/null": "c 1:3", "/dev/zero": "c 1:5", "/dev/full": "c 1:7",
    }  # fmt: skip
    assert not any(path.startswith("/dev/pts/") or os.path.islink(path) for path in found)


def test_another_file_stands_for_no_device() -> None:
    assert devnodes.numbers_of(os.stat("/etc/passwd")) == ""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The job's directory in the devices hierarchy, with what may be written to it in a file of its own."""
    directory = tmp_path / f"devices{JOB}"
    directory.mkdir(parents=True)
    (directory / "devices.allow").touch()
    return directory


def let_in(top: Path, job: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (job / "devices.list").write_text(said)
    monkeypatch.setattr(devnodes, "of_process", lambda pid: {"/dev/nvidia0": "c 195:0"} if pid == 1 else {})
    V1(str(top)).let_runc_in(JOB)
    return (job / "devices.allow").read_text()


def test_on_v1_the_right_to_make_a_node_is_given_back_alone(
    tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert let_in(tmp_path, job, "a *:* rwm\n", monkeypatch) == "c 195:0 m"


def test_where_what_is_allowed_is_listed_it_is_not_made_longer(
    tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert let_in(tmp_path, job, "c *:* m\nc 1:3 rwm\n", monkeypatch) == ""


def test_without_that_hierarchy_there_is_no_fence(tmp_path: Path) -> None:
    V1(str(tmp_path)).let_runc_in(JOB)
    V2(str(tmp_path)).let_runc_in(JOB)

# SPDX-License-Identifier: Apache-2.0
"""runc's riddles: a full pids.max is told as such, and only where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_hooks import cgroups
from slurm_hooks.broker import launch
from slurm_hooks.cgroups.v2 import V2
from tests.unit.test_cgroup_figures import written
from tests.unit.test_jobs import job_of

RIDDLE = "runc create failed: waiting for init preliminary setup: read init-p: connection reset by peer"


def words(top: Path, monkeypatch: pytest.MonkeyPatch, said: str, levels: dict[str, str]) -> str:
    """What a user reads where the cgroups of these levels have "limit now"."""
    files: dict[str, str] = {}
    for level, figures in levels.items():
        limit, now = figures.split()
        files |= {f"{level}/pids.max": f"{limit}\n", f"{level}/pids.current": f"{now}\n"}
    monkeypatch.setattr(cgroups, "of", lambda version: V2(written(top, files)))
    return launch.in_words(said, job_of())


@pytest.mark.parametrize(
    "levels",
    [{"slurm/uid_1001/job_4711": "200 195"}, {"slurm/uid_1001/job_4711": "4096 300", "slurm/uid_1001": "302 301"}],
    ids=["the job's", "one above it"],
)
def test_a_full_limit_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: dict[str, str]) -> None:
    assert "no room for a container's processes" in words(tmp_path, monkeypatch, RIDDLE, levels)


@pytest.mark.parametrize("levels", [{"slurm/uid_1001/job_4711": "4096 20"}, {"slurm/uid_1001/job_4711": "max 20"}, {}])
def test_what_killed_runc_otherwise_is_not_called_a_full_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: dict[str, str]
) -> None:
    assert words(tmp_path, monkeypatch, RIDDLE, levels) == RIDDLE


def test_other_errors_stay_dockerds_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = 'exec: "nothing": executable file not found in $PATH'
    assert words(tmp_path, monkeypatch, said, {"slurm/uid_1001/job_4711": "200 195"}) == said

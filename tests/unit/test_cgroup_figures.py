# SPDX-License-Identifier: Apache-2.0
"""What a cgroup has used and what bounds it, read from trees of files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_hooks import linux
from slurm_hooks.cgroups.v1 import V1
from slurm_hooks.cgroups.v2 import V2

NO_LIMIT_V1 = "9223372036854771712\n"  # PAGE_COUNTER_MAX in bytes


def written(top: Path, files: dict[str, str]) -> str:
    """The mount point of a tree with these files."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(top)


def test_the_counts_of_v2(tmp_path: Path) -> None:
    mount = written(
        tmp_path,
        {
            "job/c/cpu.stat": "usage_usec 2500999\nuser_usec 1\nsystem_usec 2\n",
            "job/c/memory.events": "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 0\n",
            "job/c/pids.events": "max 7\n",
        },
    )
    assert V2(mount).counts("/job/c") == {"cpu": 2500, "oom": 1, "full": 7}


def test_the_counts_of_v1(tmp_path: Path) -> None:
    mount = written(
        tmp_path,
        {
            "cpuacct/job/c/cpuacct.usage": "2500999888\n",
            "memory/job/c/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            "pids/job/c/pids.events": "max 7\n",
        },
    )
    assert V1(mount).counts("/job/c") == {"cpu": 2500, "oom": 1, "full": 7}


@pytest.mark.parametrize("version", [V1, V2])
def test_of_a_cgroup_that_is_gone_nothing_is_told(tmp_path: Path, version: type[V1 | V2]) -> None:
    assert version(str(tmp_path)).counts("/job/c") == {}
    assert version(str(tmp_path)).peaks("/job/c") == {}
    assert version(str(tmp_path)).memory_limit("/job/c") == 0


def test_the_memory_limit_in_force_is_the_least_on_the_way_up(tmp_path: Path) -> None:
    levels = {"scope": "8000000", "scope/job": "4000000", "scope/job/c": "max"}
    v2 = written(tmp_path / "2", {f"{level}/memory.max": f"{limit}\n" for level, limit in levels.items()})
    v1 = written(
        tmp_path / "1",
        {
            f"memory/{level}/memory.limit_in_bytes": f"{limit}\n" if limit != "max" else NO_LIMIT_V1
            for level, limit in levels.items()
        },
    )
    for hierarchy in (V1(v1), V2(v2)):
        assert hierarchy.memory_limit("/scope/job/c") == 4_000_000
        assert hierarchy.memory_limit("/scope") == 8_000_000


@pytest.mark.parametrize(("text", "value"), [("a 1\nb 2\n", 2), ("ab 3\n", None), ("b x\n", None), ("b\n", None)])
def test_a_key_is_found_by_its_whole_name(tmp_path: Path, text: str, value: int | None) -> None:
    (tmp_path / "file").write_text(text)
    assert linux.keyed(str(tmp_path / "file"), "b") == value


@pytest.mark.parametrize(
    ("freezer", "devices", "told"),
    [
        ("/slurm/uid_1/job_2/step_0", "/slurm/uid_1/job_2/step_0", "/slurm/uid_1/job_2/step_0"),
        ("/slurm/uid_1/job_2", "/slurm/uid_1/job_2/step_0", "/slurm/uid_1/job_2/step_0"),
        ("/slurm/uid_1/job_2", "/slurm/uid_1/job_21/step_0", "/slurm/uid_1/job_2"),
        ("/slurm/uid_1/job_2", "/user.slice", "/slurm/uid_1/job_2"),
        ("/slurm/uid_1/job_2/0123abc", "/slurm/uid_1/job_2/step_0", "/slurm/uid_1/job_2/0123abc"),
        ("/slurm/uid_1", "/slurm/uid_1/job_2/step_0", "/slurm/uid_1"),
        ("/", "/slurm/uid_1/job_2/step_0", "/"),
    ],
    ids=["a step", "a TaskEpilog", "another job's", "of no step", "a container", "a user's level", "the root"],
)
def test_on_v1_a_child_of_slurmstepd_is_its_steps(freezer: str, devices: str, told: str) -> None:
    assert V1("/sys/fs/cgroup").identity({"pids": "/", "freezer": freezer, "devices": devices}) == told

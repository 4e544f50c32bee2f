# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of pids.max, and what a Prolog makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_hooks import linux, prolog
from slurm_hooks.cgroups import limits, slurm
from slurm_hooks.cgroups.v1 import V1

SITE = {"pids": 4096, "slurm_reserve": 64}


@pytest.mark.parametrize(("text", "expected"), [("max\n", None), ("0\n", 0), ("4096\n", 4096), ("12", 12)])
def test_a_pids_max_file_is_read(text: str, expected: int | None) -> None:
    assert limits.parsed(text) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], (32768, "kernel.pid_max")),
        ([("/a", None)], (32768, "kernel.pid_max")),
        ([("/a/b", 100), ("/a", 50)], (50, "/a")),
        ([("/a/b", 50), ("/a", 100)], (50, "/a/b")),
        ([("/a/b", 50), ("/a", 50)], (50, "/a/b")),
        ([("/a", 99999)], (32768, "kernel.pid_max")),
        ([("/a", 0)], (0, "/a")),
    ],
    ids=["none", "max", "above", "own", "equal", "beyond the kernel", "zero"],
)
def test_the_smallest_limit_is_in_force(levels: list[tuple[str, int | None]], expected: tuple[int, str]) -> None:
    assert limits.lowest(levels, 32768) == expected


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ({}, (4096, 64, "the site's default")),
        ({"other": {"pids": 5}}, (4096, 64, "the site's default")),
        ({"debug": {"pids": None}}, (4096, 64, "the site's default")),
        ({"debug": {}}, (4096, 64, "the site's default")),
        ({"debug": {"pids": 512}}, (512, 64, "partition debug")),
        ({"debug": {"pids": 8192}}, (8192, 64, "partition debug")),
    ],
)
def test_a_partition_may_have_a_figure_of_its_own(
    partitions: dict[str, dict[str, int | None]], expected: tuple[int, int, str]
) -> None:
    assert limits.chosen(SITE, partitions, "debug") == expected


@pytest.mark.parametrize(
    ("reserve", "above", "expected"),
    [
        (64, 32768, (4096, 4160, "4096 by the site + 64 for Slurm's own")),
        (0, 32768, (4096, 4096, "4096 by the site")),
        (64, 1000, (936, 1000, "4096 by the site + 64 for Slurm's own, held down to 1000 by /slurm")),
        (0, 1000, (1000, 1000, "4096 by the site, held down to 1000 by /slurm")),
        (64, 4160, (4096, 4160, "4096 by the site + 64 for Slurm's own")),
        (64, 40, (1, 40, "4096 by the site + 64 for Slurm's own, held down to 40 by /slurm")),
    ],
    ids=["v2", "v1", "held down", "held down, v1", "exactly", "hopeless"],
)
def test_the_job_is_held_down_before_slurms_reserve_is(
    reserve: int, above: int, expected: tuple[int, int, str]
) -> None:
    assert limits.settled(4096, reserve, "the site", above, "/slurm") == expected


# -- bounded(), on a tree of files: a directory of the pids hierarchy is a directory with a file pids.max -----------


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """A pids hierarchy with Slurm's root in it, the job's directory made before its time (it has the file then)."""
    job = tmp_path / "pids" / "slurm" / "uid_1" / "job_1"
    job.mkdir(parents=True)
    (job / "pids.max").write_text("max\n")
    return tmp_path / "pids"


def bounded(
    pids: Path, partition: str = "", reserve: int = 0, **partitions: dict[str, int | None]
) -> tuple[int, int, int, str]:
    place = slurm.Place(1, "/slurm", "/slurm/uid_1/job_1")
    site = {"node": {"reserve": reserve}, "job": SITE, "partition": partitions}
    return prolog.bounded(V1(str(pids.parent)), place, site, partition)


def test_on_v1_a_job_gets_the_sites_figure_and_no_reserve(pids: Path) -> None:
    assert bounded(pids) == (4096, 4096, 4096, "4096 by the site's default")
    assert linux.read(f"{pids}/slurm/uid_1/job_1/pids.max").startswith("4096")


def test_a_job_never_gets_more_than_an_ancestor_has(pids: Path) -> None:
    (pids / "slurm" / "pids.max").write_text("1000\n")
    figure, limit, effective, why = bounded(pids)
    assert (figure, limit, effective) == (1000, 1000, 1000)
    assert why.endswith("held down to 1000 by /slurm")


def test_a_job_of_a_partition_gets_that_figure(pids: Path) -> None:
    assert bounded(pids, "debug", debug={"pids": 512})[:3] == (512, 512, 512)


@pytest.mark.parametrize(
    ("pid_max", "threads_max", "expected"),
    [(32_768, 100_000, 30_720), (4_194_304, 16_000, 13_952), (1_000, 1_000, 1)],
    ids=["pid_max", "threads-max", "a reserve of all"],
)
def test_all_jobs_together_leave_the_reserve_of_what_the_kernel_has(
    pid_max: int, threads_max: int, expected: int
) -> None:
    assert limits.of_all_jobs(pid_max, threads_max, 2048) == expected


@pytest.mark.parametrize("found", ["max\n", "77\n"], ids=["as systemd writes it", "of another configuration"])
def test_the_prolog_keeps_the_bound_of_all_jobs(pids: Path, found: str) -> None:
    ceiling = min(int(linux.read(f"/proc/sys/kernel/{name}")) for name in ("pid_max", "threads-max"))
    root = pids / "slurm" / "pids.max"
    root.write_text(found)
    assert bounded(pids, reserve=ceiling - 500)[:3] == (500, 500, 500)
    assert root.read_text().split() == ["500"]


def test_without_a_reserve_the_bound_of_all_jobs_is_not_touched(pids: Path) -> None:
    (pids / "slurm" / "pids.max").write_text("max\n")
    bounded(pids)
    assert (pids / "slurm" / "pids.max").read_text() == "max\n"

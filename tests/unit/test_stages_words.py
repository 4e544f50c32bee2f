# SPDX-License-Identifier: Apache-2.0
"""Why a bind source cannot be mounted, in words: by the error and by the file system that it lies on."""

from __future__ import annotations

import errno

import pytest

from slurm_hooks import linux, stages

MOUNTS = [
    linux.Mount("8:1", "/", "/", "rw", "ext4"),
    linux.Mount("0:50", "/", "/home/ann/mine", "rw", "fuse.sshfs"),
    linux.Mount("0:51", "/", "/scratch", "rw", "ext4"),
    linux.Mount("0:52", "/", "/scratch", "rw", "overlay"),
]
OWN = "Only what you can reach yourself can be mounted."
OTHERS = "Mount another directory, or run as yourself: without --user."


@pytest.fixture(autouse=True)
def _mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "mounts_of", lambda pid: MOUNTS)


def denied(path: str) -> tuple[str, str]:
    return stages.why_not(PermissionError(errno.EACCES, "open"), path)


def test_a_fuse_file_system_that_is_its_owners_alone_is_named() -> None:
    assert denied("/home/ann/mine/a") == (
        "Permission denied: /home/ann/mine is a FUSE file system, which has to be mounted with -o allow_other", OWN,
    )  # fmt: skip
    assert denied("/home/ann/mine") == denied("/home/ann/mine/a")


@pytest.mark.parametrize("path", ["/home/ann/minefield", "/home/ann", "/scratch/x"])
def test_elsewhere_it_is_permission_alone(path: str) -> None:
    assert denied(path) == ("Permission denied", OWN)


def test_another_error_is_no_matter_of_fuse() -> None:
    assert stages.why_not(FileNotFoundError(errno.ENOENT, "x"), "/home/ann/mine/a")[0] == "No such file or directory"


def test_what_root_inside_could_not_own_is_told_by_the_file_system_that_is_seen_there() -> None:
    assert stages.why_not(stages.Unowned(errno.EINVAL, "x"), "/scratch/x") == (
        "it is on overlay, whose files root inside could not own", OTHERS,
    )  # fmt: skip


def test_a_broker_that_may_make_no_user_namespace_says_so() -> None:
    assert stages.why_not(stages.Unowned("the unit may not"), "/scratch/x") == ("the unit may not", OTHERS)

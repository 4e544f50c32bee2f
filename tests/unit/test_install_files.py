# SPDX-License-Identifier: Apache-2.0
"""How `install` writes: at once, as the file was owned, with what was there kept; and where it does not write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm_hooks.errors import NodeFault
from slurm_hooks.install import files
from tests.unit.test_config import as_root

STAMP = "2026-11-27T23-15-03Z"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """An empty directory of the site's."""
    made = tmp_path / "site"
    made.mkdir()
    return made


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@as_root
def test_a_file_is_replaced_as_it_was_owned_and_what_was_there_is_kept(etc: Path) -> None:
    file = etc / "slurm.conf"
    file.write_bytes(b"A=1 # \xe4\n")
    os.chown(file, 64030, 64031)
    file.chmod(0o640)
    before = file.stat().st_ino
    kept = files.replace(str(file), "A=1 # \udce4\n", "A=2 # \udce4\n", STAMP)
    assert kept == f"{file}.{STAMP}"
    assert (file.read_bytes(), Path(kept).read_bytes()) == (b"A=2 # \xe4\n", b"A=1 # \xe4\n")
    for path in (file, Path(kept)):
        facts = path.stat()
        assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (64030, 64031, 0o640)
    assert file.stat().st_ino != before  # a reader that has the old one open reads it to its end
    assert names(etc) == {"slurm.conf", f"slurm.conf.{STAMP}"}


@as_root
def test_its_labels_go_with_it(etc: Path) -> None:
    file = etc / "slurm.conf"
    file.write_text("A=1\n")
    acl = b"\x02\0\0\0" + b"".join(
        part.to_bytes(2, "little") + right.to_bytes(2, "little") + who.to_bytes(4, "little")
        for part, right, who in (
            (1, 6, 2**32 - 1),
            (2, 4, 1001),
            (4, 4, 2**32 - 1),
            (16, 4, 2**32 - 1),
            (32, 4, 2**32 - 1),
        )
    )
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("no ACL on this file system")
    files.replace(str(file), "A=1\n", "A=2\n", STAMP)
    assert os.getxattr(file, "system.posix_acl_access") == acl


def test_a_file_that_was_not_there_is_made_and_one_that_came_meanwhile_stays(etc: Path) -> None:
    file = etc / "cgroup.conf"
    assert files.replace(str(file), None, "A=1\n", STAMP) == ""
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("A=1\n", 0o644)
    with pytest.raises(NodeFault, match="File exists"):
        files.replace(str(file), None, "A=2\n", STAMP)
    assert file.read_text() == "A=1\n" and names(etc) == {"cgroup.conf"}


def test_what_somebody_else_has_changed_meanwhile_stays(etc: Path) -> None:
    file = etc / "slurm.conf"
    file.write_text("A=3\n")
    with pytest.raises(NodeFault, match="meanwhile"):
        files.replace(str(file), "A=1\n", "A=2\n", STAMP)
    assert file.read_text() == "A=3\n" and names(etc) == {"slurm.conf"}


def test_where_it_comes_to_no_end_nothing_is_left(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # chattr +i

    file = etc / "slurm.conf"
    file.write_text("A=1\n")
    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(NodeFault, match="on the host that it belongs to"):
        files.replace(str(file), "A=1\n", "A=2\n", STAMP)
    assert names(etc) == {"slurm.conf"} and file.read_text() == "A=1\n"


def test_a_backup_is_never_written_over(etc: Path) -> None:
    file = etc / "slurm.conf"
    file.write_text("A=1\n")
    (etc / f"slurm.conf.{STAMP}").symlink_to(etc / "elsewhere")
    with pytest.raises(NodeFault, match="File exists"):
        files.replace(str(file), "A=1\n", "A=2\n", STAMP)
    assert file.read_text() == "A=1\n" and names(etc) == {"slurm.conf", f"slurm.conf.{STAMP}"}


def test_a_link_stays_one_and_where_it_leads_is_said(etc: Path) -> None:
    real, link = etc / "real.conf", etc / "slurm.conf"
    real.write_text("A=1\n")
    link.symlink_to("real.conf")
    assert files.target(str(link)).words == f"{link}, a link to {real}"
    assert files.replace(str(link), "A=1\n", "A=2\n", STAMP) == f"{real}.{STAMP}"
    assert link.is_symlink() and real.read_text() == "A=2\n"


def test_a_directory_that_is_a_link_is_no_surprise(etc: Path) -> None:
    (etc / "slurm").mkdir()
    (etc / "slurm/slurm.conf").write_text("A=1\n")
    (etc / "link").symlink_to("slurm")
    path = str(etc / "link/slurm.conf")
    assert files.target(path).words == path


def test_where_it_is_not_to_be_written_is_said_in_words(etc: Path) -> None:
    cached = etc / "slurmd/conf-cache/slurm.conf"
    cached.parent.mkdir(parents=True)
    cached.write_text("A=1\n")
    assert "on the controller" in files.why_not(str(cached))
    (etc / "run").symlink_to(cached.parent)
    assert "on the controller" in files.why_not(str(etc / "run/slurm.conf"))
    file = etc / "slurm.conf"
    file.write_text("A=1\n")
    assert files.why_not(str(file)) == ""
    file.chmod(0o666)
    assert files.why_not(str(file)).startswith("everybody")
    file.chmod(0o644)
    etc.chmod(0o777)
    assert files.why_not(str(file)).startswith("everybody")
    etc.chmod(0o1777)
    assert files.why_not(str(file)) == ""
    os.link(file, etc / "other")
    assert "hard link" in files.why_not(str(file))
    assert files.why_not(str(etc)) == "it is no regular file"
    assert files.why_not(str(etc / "new.conf")) == ""
    assert files.why_not(str(etc / "nowhere/new.conf")) == f"there is no {etc}/nowhere"


@pytest.mark.parametrize(
    ("path", "shared"), [("/etc/slurm/slurm.conf", False), ("/srv/slurm/slurm.conf", True), ("/srv2/slurm.conf", False)]
)
def test_a_file_of_many_hosts_is_told_by_its_mount(path: str, *, shared: bool) -> None:
    assert files.is_shared(path, [("/", "ext4"), ("/srv", "nfs4"), ("/srv/other", "ext4")]) is shared

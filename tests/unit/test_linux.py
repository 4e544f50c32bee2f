# SPDX-License-Identifier: Apache-2.0
"""Readings of /proc, files in place at once, locks with a deadline: on this process and this machine."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from slurm_hooks import linux


def test_cgroup_lines_of_v1_and_v2() -> None:
    text = "12:freezer:/slurm/job_1\n4:cpu,cpuacct:/\n1:name=systemd:/a:b\n0::/x\n"
    assert linux.cgroup_lines(text) == {
        "freezer": "/slurm/job_1",
        "cpu": "/",
        "cpuacct": "/",
        "name=systemd": "/a:b",
        "": "/x",
    }


def test_the_status_of_this_process_is_its_own() -> None:
    status = linux.status_of(os.getpid())
    assert status["Pid"] == str(os.getpid())
    assert status["Uid"].split()[0] == str(os.getuid())


def test_the_mounts_of_this_process_are_those_that_it_sees() -> None:
    points = [mount.point for mount in linux.mounts_of("self")]
    assert "/" in points and "/proc" in points


def test_a_mount_point_with_spaces_and_backslashes_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    line = r"36 35 98:0 /mnt\040a /a\040b\011c\012d\134040 rw,nosuid shared:1 - ext4 /dev/x rw" + "\n"
    monkeypatch.setattr(linux, "read", lambda path: line)
    (mount,) = linux.mounts_of("self")
    assert (mount.what, mount.point, mount.options, mount.kind) == (
        ("98:0", "/mnt a"),
        "/a b\tc\nd\\040",
        "rw,nosuid",
        "ext4",
    )


def test_the_peer_of_a_connection_is_told_by_the_kernel() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        pid, uid, gid, pidfd = linux.peer_of(one)
        try:
            assert (pid, uid, gid) == (os.getpid(), os.getuid(), os.getgid())
            assert linux.alive(pidfd)
        finally:
            os.close(pidfd)


def test_a_process_that_ended_is_not_alive() -> None:
    process = subprocess.Popen(["/bin/sleep", "60"])
    pidfd = os.pidfd_open(process.pid)
    try:
        linux.kill_where(process.pid, lambda: True)
        process.wait()
        assert not linux.alive(pidfd)
        linux.kill_where(2**22 + 1, lambda: True)  # no such process: fine
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EINVAL, errno.ENOENT])
def test_a_process_that_is_gone_is_gone_whatever_the_kernel_calls_it(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def pidfd_open(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    linux.kill_where(4242, lambda: True)
    with pytest.raises(ProcessLookupError):
        linux.pidfd_of(4242)


def test_a_process_that_cannot_be_opened_for_another_reason_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def pidfd_open(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(OSError, match="Too many open files"):
        linux.kill_where(4242, lambda: True)


def test_a_process_that_is_another_by_now_gets_no_signal() -> None:
    process = subprocess.Popen(["/bin/sleep", "60"])
    try:
        linux.kill_where(process.pid, lambda: False)
        linux.kill_where(process.pid, lambda: linux.is_inside(process.pid, "/slurm/uid_1001/job_4711"))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_process_is_inside_a_cgroup_and_those_above_it() -> None:
    own = next(path for path in linux.cgroup_lines(linux.read("/proc/self/cgroup")).values())
    assert linux.is_inside(os.getpid(), own)
    assert not linux.is_inside(os.getpid(), f"{own}/job_1", f"{own}-of-another")


def test_a_file_is_replaced_at_once_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("old", "new"):
        linux.replace(str(path), text)
        assert path.read_text() == text
    assert list(tmp_path.glob("file*")) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()  # a directory is not replaced by a file
    with pytest.raises(OSError):
        linux.replace(str(tmp_path / "file"), "new")
    assert list(tmp_path.glob("file*")) == [tmp_path / "file"]


def test_text_that_is_not_utf8_survives(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\xffb")
    linux.replace(str(path), linux.read(str(path)))
    assert path.read_bytes() == b"a\xffb"


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    with linux.Locked(str(tmp_path)) as first:
        assert first.held
        with linux.Locked(str(tmp_path)) as second:
            assert not second.held
    with linux.Locked(str(tmp_path)) as third:
        assert third.held


def test_shared_locks_go_together_and_keep_an_exclusive_one_out(tmp_path: Path) -> None:
    with linux.Locked(str(tmp_path), shared=True) as one, linux.Locked(str(tmp_path), shared=True) as two:
        assert one.held and two.held
        with linux.Locked(str(tmp_path)) as alone:
            assert not alone.held


def test_a_lock_is_waited_for_up_to_the_deadline(tmp_path: Path) -> None:
    first = linux.Locked(str(tmp_path))
    timer = threading.Timer(0.05, first.release)
    timer.start()
    with linux.Locked(str(tmp_path), within=5.0) as second:
        assert second.held
    timer.join()


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(1, flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    with linux.Locked(str(tmp_path)) as lock:
        assert not lock.held
    process.kill()
    process.communicate()
    with linux.Locked(str(tmp_path)) as lock:
        assert lock.held


def test_a_tree_is_told_deepest_first_without_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("/")
    (tmp_path / "a" / "file").touch()
    assert list(linux.tree_of(str(tmp_path / "a"))) == [str(tmp_path / "a" / "b"), str(tmp_path / "a")]
    assert list(linux.tree_of(str(tmp_path / "missing"))) == []


@pytest.mark.parametrize("path", ["/proc/self/root/etc", "/proc/self/cwd", "/proc/self/fd/0"])
def test_no_magic_link_is_followed(path: str) -> None:
    with pytest.raises(OSError, match="openat2"):
        linux.openat2(path, os.O_PATH, linux.RESOLVE_NO_MAGICLINKS)


def test_a_plain_path_is_opened(tmp_path: Path) -> None:
    fd = linux.openat2(str(tmp_path), os.O_PATH, linux.RESOLVE_NO_MAGICLINKS)
    try:
        assert os.readlink(f"/proc/self/fd/{fd}") == str(tmp_path)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)

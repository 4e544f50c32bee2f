# SPDX-License-Identifier: Apache-2.0
"""Files of a site, read and replaced: at once, with owner and mode kept, and the text of before beside it."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from slurm_hooks.errors import NodeFault

NEW_MODE = 0o644  # where there was none: slurm.conf and cgroup.conf are read by every user's commands
SHARED = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "smb3", "9p")
LABELS = ("security.selinux", "system.posix_acl_access")


class Target(NamedTuple):
    """What is written where a path is asked for."""

    path: str
    real: str  # behind links

    @property
    def words(self) -> str:
        """For a person: the path, and where it leads."""
        return self.path if self.real == self.path else f"{self.path}, a link to {self.real}"


def target(path: str) -> Target:
    """A path, and the file behind it; its directory need not be canonical to be named as it was asked for."""
    path = os.path.abspath(path)
    real = os.path.realpath(path)
    there = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return Target(path, path if real == there else real)


def read(path: str) -> str | None:
    """A text as it is, byte by byte; None: there is none to read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError:
        return None


def why_not(path: str) -> str:
    """Why a file is not to be written here, whoever asks; "" where it may be."""
    real = os.path.realpath(path)
    if "/conf-cache/" in real or real.startswith("/run/slurm/conf/"):
        return (
            "it is slurmd's copy of what the controller has (configless), and is written anew from there; "
            "change it on the controller: slurm-hooks install --apply there, or by hand as shown"
        )
    try:
        facts = os.stat(real)
    except FileNotFoundError:
        return "" if os.path.isdir(os.path.dirname(real)) else f"there is no {os.path.dirname(real)}"
    except OSError as error:
        return os.strerror(error.errno or 0)
    if not stat.S_ISREG(facts.st_mode):
        return "it is no regular file"
    if facts.st_nlink > 1:
        return "it has another name (a hard link), and writing would part the two"
    if facts.st_mode & stat.S_IWOTH or _open(os.path.dirname(real)):
        return "everybody may write there; see who did, then: chmod o-w"
    if os.statvfs(real).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only here; change it where it is not"
    return ""


def _open(directory: str) -> bool:
    mode = os.stat(directory).st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def replace(path: str, before: str | None, text: str, stamp: str) -> str:
    """Put a text in the place of another, at once; where that one is kept, "" where there was none.

    Works in the file's own directory by its descriptor, so that nobody leads it elsewhere meanwhile.

    Args:
        path: links in it are followed, once.
        before: what was read there; None: nothing was.
        stamp: ends the name of what is kept.

    Raises:
        NodeFault: it is no longer what was read, or cannot be written.
    """
    directory, name = os.path.split(os.path.realpath(path))
    try:
        at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _replace(at, directory, name, before, text, stamp)
        finally:
            os.close(at)
    except OSError as error:
        todo = "Change it on the host that it belongs to." if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise NodeFault(path, os.strerror(error.errno or 0), todo) from None


def _replace(at: int, directory: str, name: str, before: str | None, text: str, stamp: str) -> str:
    half, kept = f"{name}.{os.getpid()}.new", f"{name}.{stamp}"
    made: list[str] = []  # and to go, where it does not come to its end
    old = -1
    try:
        if before is None:
            _make(at, half, text, -1, made)
            os.link(half, name, src_dir_fd=at, dst_dir_fd=at)  # and not over what came meanwhile
            os.unlink(half, dir_fd=at)
        else:
            old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            with open(os.dup(old), "rb") as file:
                if file.read() != _bytes(before):
                    raise NodeFault(f"{directory}/{name}", "somebody else has changed it meanwhile", "Run this again.")
            _make(at, kept, before, old, made)
            _make(at, half, text, old, made)
            os.rename(half, name, src_dir_fd=at, dst_dir_fd=at)
        made.clear()
        os.fsync(at)
    finally:
        for one in made:
            os.unlink(one, dir_fd=at)
        if old >= 0:
            os.close(old)
    return f"{directory}/{kept}" if before is not None else ""


def _make(at: int, name: str, text: str, like: int, made: list[str]) -> None:
    """A new file in a directory, on the disk; owner, mode and labels of another, -1: root's."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
    made.append(name)
    try:
        with open(os.dup(fd), "wb") as file:
            file.write(_bytes(text))
        if like >= 0:
            facts = os.fstat(like)
            os.fchown(fd, facts.st_uid, facts.st_gid)
            os.fchmod(fd, stat.S_IMODE(facts.st_mode))
            _label(fd, like)
        else:
            os.fchmod(fd, NEW_MODE)
        os.fsync(fd)
    finally:
        os.close(fd)


def _label(fd: int, like: int) -> None:
    for name in LABELS:
        try:
            os.setxattr(fd, name, os.getxattr(like, name))
        except OSError:
            pass  # it has none, or its file system knows none: then the directory's own rule holds


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_shared(path: str, mounts: list[tuple[str, str]]) -> bool:
    """Does it lie on a file system of other hosts too? By (mount point, kind) of mountinfo, oldest first. Pure."""
    under = [(point, kind) for point, kind in mounts if f"{path}/".startswith(f"{point.rstrip('/')}/")]
    longest = max((len(point) for point, _ in under), default=0)
    kinds = [kind for point, kind in under if len(point) == longest]
    return bool(kinds) and kinds[-1] in SHARED

# SPDX-License-Identifier: Apache-2.0
"""Every system call that the standard library lacks, and small readings of /proc.

Imports nothing of ours. Hooks import it on their healthy path, so ctypes, socket and signal are imported by the
functions that need them. Constants are those of the x86-64 and arm64 ABI, which agree here (numbers from
asm-generic/unistd.h for calls newer than Linux 5.0).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    import socket
    from collections.abc import Callable, Iterator

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
IN_NAMES = 0x40 | 0x80 | 0x100 | 0x200  # IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE
MNT_DETACH = 0x2
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_RDONLY = 0x1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
NS_GET_USERNS = 0xB701  # ioctl_ns(2), Linux 4.9
OPEN_TREE_CLONE = 0x1
RESOLVE_NO_MAGICLINKS = 0x02  # openat2(2): no /proc/<pid>/root, /proc/<pid>/fd/N on the way
SO_PEERPIDFD = 77  # Linux 6.5; the socket module does not name it
UMOUNT_NOFOLLOW = 0x8

SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442


# -- calls by number -------------------------------------------------------------------------------


def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _syscall(what: str, number: int, *arguments: object) -> int:
    import ctypes

    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    return _checked(what, libc.syscall(ctypes.c_long(number), *arguments))


def _checked(what: str, result: int) -> int:
    """What a call of libc returned. Raises OSError where that is -1."""
    import ctypes

    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def openat2(path: str, flags: int, resolve: int) -> int:
    """Open `path` (absolute) with `flags` and openat2(2)'s `resolve`. Linux 5.6. Raises OSError."""
    import ctypes

    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)
    return _syscall("openat2", SYS_OPENAT2, AT_FDCWD, os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(24))


def open_tree(fd: int, flags: int) -> int:
    """A detached copy of the mount that the descriptor `fd` lies on. Linux 5.2. Raises OSError."""
    return _syscall("open_tree", SYS_OPEN_TREE, fd, b"", flags | os.O_CLOEXEC)


def mount_setattr(fd: int, flags: int, attributes: int, user_namespace: int = 0) -> None:
    """Set MOUNT_ATTR_* on the mount that `fd` is; of MOUNT_ATTR_IDMAP by a namespace. Linux 5.12. Raises OSError."""
    import ctypes

    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, user_namespace)
    _syscall("mount_setattr", SYS_MOUNT_SETATTR, fd, b"", flags, ctypes.byref(attr), ctypes.c_size_t(32))


def move_mount(fd: int, target_fd: int) -> None:
    """Put the detached mount `fd` on the file or directory held by `target_fd`. Raises OSError."""
    move_mount_t_empty_path = 0x40
    _syscall("move_mount", SYS_MOVE_MOUNT, fd, b"", target_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | move_mount_t_empty_path)


def setns(fd: int, kind: int) -> None:
    """Enter a namespace (os.setns is there from Python 3.12 on). Single-threaded callers only."""
    _checked("setns", _libc().setns(fd, kind))


def unshare(kind: int) -> None:
    """Enter a new namespace (os.unshare is there from Python 3.12 on). Single-threaded callers only."""
    _checked("unshare", _libc().unshare(kind))


class as_owner:
    """Files that are made within are `uid`'s (setfsuid(2)): of the kernel's checks of files alone, in this thread."""

    def __init__(self, uid: int) -> None:
        self._uid, self._before = uid, 0

    def __enter__(self) -> None:
        libc = _libc()
        self._before = libc.setfsuid(self._uid)
        # The call tells of no error; this one changes nothing and gives what holds.
        if libc.setfsuid(-1) & 0xFFFFFFFF != self._uid:
            raise PermissionError(errno.EPERM, f"setfsuid: {os.strerror(errno.EPERM)}")

    def __exit__(self, *_: object) -> None:
        _libc().setfsuid(self._before)


def watch(path: str) -> int:
    """An inotify(7) descriptor, readable when a name comes to or goes from the directory. Raises OSError."""
    import ctypes

    libc = _libc()
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(path), IN_NAMES) < 0:
        code = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(code, f"inotify {path}: {os.strerror(code)}")
    return fd


def umount2(path: str, flags: int) -> None:
    """Unmount. Raises OSError."""
    _checked(f"umount {path}", _libc().umount2(os.fsencode(path), flags))


# -- processes -------------------------------------------------------------------------------------


def peer_of(connection: socket.socket) -> tuple[int, int, int, int]:
    """Who connected: (pid, uid, gid, pidfd), as the kernel noted at connect(). The caller closes the pidfd.

    On a kernel before 6.5 the pidfd is opened by number; a pid reused in between then gives another process, whose
    cgroup decides, as always. Raises ProcessLookupError where the peer is gone already.
    """
    import socket
    import struct

    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", credentials)
    if pid <= 0:  # 0: the peer lives in a pid namespace that ours cannot see
        raise ProcessLookupError(errno.ESRCH, "the peer's pid is not visible here")
    try:
        pidfd = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        pidfd = pidfd_of(pid)
    return pid, uid, gid, pidfd


def pidfd_of(pid: int) -> int:
    """A process's pidfd, which the caller closes. Raises ProcessLookupError where it is gone.

    Where a process group or a session still has its number, Linux before 6.16 says EINVAL, as of the number of a
    thread, which is ENOENT since (pidfd_open(2); kernel/fork.c, pidfd_prepare).
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            raise ProcessLookupError(errno.ESRCH, f"no process has the number {pid} any more") from None
        raise


def alive(pidfd: int) -> bool:
    """Is the process behind the pidfd still there (a zombie is)? A dead and reaped peer yields a pidfd too."""
    import signal

    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    return True


def kill_where(pid: int, holds: Callable[[], bool], number: int = 9) -> None:
    """A signal to a process of which `holds` is true: asked while its pidfd is open, so of it and of no other."""
    try:
        pidfd = pidfd_of(pid)
    except ProcessLookupError:
        return
    import signal

    try:
        if holds() and alive(pidfd):
            signal.pidfd_send_signal(pidfd, number)
    except (FileNotFoundError, ProcessLookupError):
        pass  # gone already is fine
    finally:
        os.close(pidfd)


def status_of(pid: int) -> dict[str, str]:
    """/proc/<pid>/status as a mapping (proc_pid_status(5)). Raises FileNotFoundError, ProcessLookupError."""
    lines = read(f"/proc/{pid}/status").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def keyed(path: str, key: str) -> int | None:
    """The number behind a key in a flat keyed file of cgroupfs (cgroup-v2.rst, Format); None: not there."""
    try:
        for line in read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def is_inside(pid: int, *paths: str) -> bool:
    """Is a process in one of these cgroups, or below one, in any hierarchy? Raises OSError where it is gone."""
    lines = cgroup_lines(read(f"/proc/{pid}/cgroup"))
    return any(f"{place}/".startswith(f"{path}/") for place in lines.values() for path in paths)


def cgroup_lines(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup: controller to path; the cgroup v2 line under the empty name (cgroups(7))."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def boot_id() -> str:
    """This boot's name: 36 characters (random(4))."""
    return read("/proc/sys/kernel/random/boot_id").strip()


def uptime() -> float:
    """Seconds since the boot, as /proc/<pid>/stat counts starts; setting the wall clock does not move it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# -- mounts ----------------------------------------------------------------------------------------


class Mount:
    """A line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5))."""

    __slots__ = ("device", "root", "point", "options", "kind")

    point: str
    options: str

    def __init__(self, device: str, root: str, point: str, options: str, kind: str) -> None:
        self.device, self.root, self.point, self.options, self.kind = device, root, point, options, kind

    @property
    def what(self) -> tuple[str, str]:
        """(device, root): the same directory of the same file system, wherever it is mounted."""
        return self.device, self.root


def _unescaped(field: str) -> str:
    if "\\" not in field:
        return field
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field


def mounts_of(pid: int | str) -> list[Mount]:
    """The mounts that a process sees, oldest first; `pid` may be "self". Raises OSError."""
    found = []
    for line in read(f"/proc/{pid}/mountinfo").splitlines():
        fields = line.split(" ")
        kind = fields[fields.index("-") + 1]
        found.append(Mount(fields[2], _unescaped(fields[3]), _unescaped(fields[4]), fields[5], kind))
    return found


def user_namespace_of_mounts(pid: int) -> tuple[int, int]:
    """(device, inode) of the user namespace that owns a process's mount namespace. Raises OSError."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = fcntl.ioctl(namespace, NS_GET_USERNS)
        try:
            facts = os.fstat(owner)
        finally:
            os.close(owner)
    finally:
        os.close(namespace)
    return facts.st_dev, facts.st_ino


# -- files -----------------------------------------------------------------------------------------


def read(path: str) -> str:
    """A small file of /proc, /sys or ours, as text. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write(path: str, text: str) -> None:
    """Write to an existing file of /sys or /proc in one write(2). Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


HALF = ".new"


def replace(path: str, text: str, mode: int = 0o600) -> None:
    """Put a whole file in place at once: readers see the old text or the new one. Raises OSError.

    Who is killed meanwhile leaves a file whose name ends with HALF: it is none, for whoever lists the directory.
    """
    temporary = f"{path}.{os.getpid()}{HALF}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        data = text.encode("utf-8", "surrogateescape")
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


class Locked:
    """flock(2) on a directory, with a deadline in seconds; `.held` says whether it was had.

    It needs no more than to read it, leaves no lock file behind, and is what Slurm itself locks around its cgroups.
    """

    __slots__ = ("fd", "held")

    def __init__(self, directory: str, *, shared: bool = False, within: float = 0.0) -> None:
        self.fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.held = False
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        deadline = time.monotonic() + within
        while True:
            try:
                fcntl.flock(self.fd, operation)
                self.held = True
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return
                time.sleep(0.002)

    def release(self) -> None:
        """Unlock by closing the only descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Locked:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def tree_of(directory: str) -> Iterator[str]:
    """A directory and all below it, deepest first; what vanishes meanwhile is passed over."""
    try:
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in below:
        yield from tree_of(path)
    yield directory

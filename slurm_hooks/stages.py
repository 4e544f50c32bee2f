# SPDX-License-Identifier: Apache-2.0
"""Stages: bind sources resolved as the user, and mounted by descriptor where only root gets.

    /run/slurm-hooks/stage/<job key>.<nonce>/<n>      a directory or a file, mounted on
                                            /passwd   group and hosts: files of our own (broker/etc.py)

dockerd is given these paths and never the user's, so nothing that the user
swaps afterwards changes what is mounted. Runs in a helper process of one
thread (setns(2) asks for that), with the standard library alone.
"""

from __future__ import annotations

import errno
import os
import stat

from slurm_hooks import config, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class Unowned(OSError):
    """What cannot be idmapped: root inside would be a stranger to its files. With an errno it is the file system's."""


class Views:
    """The host's mount namespace and the asker's; the same one unless Slurm gave the job its own.

    Raises PermissionError where the asker's belongs to another user namespace: a user made it,
    and could show us whatever they like under any name.
    """

    def __init__(self, pid: int) -> None:
        self._fds = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._host = os.open("/proc/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._asker = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if linux.user_namespace_of_mounts(pid) != linux.user_namespace_of_mounts(1):
            raise PermissionError("the asking process is in a mount namespace that a user made")

    def enter_asker(self) -> None:
        """From here on paths are the asker's."""
        linux.setns(self._asker, linux.CLONE_NEWNS)

    def enter_host(self) -> None:
        """From here on paths are the host's, where dockerd sees them."""
        linux.setns(self._host, linux.CLONE_NEWNS)

    def real_path(self, fd: int) -> str:
        """The path of what `fd` is, in the namespace where we are. Works where /proc is another's."""
        return os.readlink(str(fd), dir_fd=self._fds)


def open_as(path: str, uid: int, gid: int, groups: Sequence[int]) -> tuple[int, os.stat_result]:
    """An O_PATH descriptor of `path`, walked with the rights of the user, and what it is. Raises OSError.

    It is the user who asks what it is, too: an NFS server that takes root for nobody refuses root even that, until
    it has the file at hand.

    Only the effective ids change: real and saved ones stay root's, so the user's processes can neither signal
    nor trace us meanwhile (kill(2), ptrace(2)). Capabilities leave the effective set with the uid.
    """
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        fd = linux.openat2(path, os.O_PATH, linux.RESOLVE_NO_MAGICLINKS)
        return fd, os.fstat(fd)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


def why_not(error: OSError, path: str) -> tuple[str, str]:
    """(Why `path` cannot be mounted, what to do), in words; in the mount namespace where it was opened.

    A FUSE file system answers EACCES to a process whose real, effective and saved ids are not all its owner's, unless
    it was mounted with allow_other (fs/fuse/dir.c, fuse_allow_current_process): and ours has root's beside the user's.
    """
    words = os.strerror(error.errno) if error.errno else str(error)
    above = [mount for mount in linux.mounts_of("self") if f"{path}/".startswith(f"{mount.point.rstrip('/')}/")]
    # Of two mounts at one place the later one is seen.
    nearest = max(enumerate(above), key=lambda one: (len(one[1].point), one[0]))[1] if above else None
    kind = nearest.kind if nearest else "a file system"
    if isinstance(error, Unowned):
        said = f"it is on {kind}, whose files root inside could not own" if error.errno else words
        return said, "Mount another directory, or run as yourself: without --user."
    if error.errno == errno.EACCES and nearest and kind.startswith("fuse"):
        words += f": {nearest.point} is a FUSE file system, which has to be mounted with -o allow_other"
    return words, "Only what you can reach yourself can be mounted."


def kind_of(mode: int) -> str:
    """directory, file, socket, pipe or device, by st_mode."""
    return KINDS.get(stat.S_IFMT(mode), "thing of an unknown kind")


MOST_GROUPS = 128  # in a map, which is a page at most (user_namespaces(7))


def identities(uid: int, gid: int, groups: Sequence[int], remapped: Sequence[int]) -> int:
    """A user namespace by which files of the user are the remapped root's in a mount; a descriptor. Raises Unowned.

    The user's other groups stay themselves, which root inside is not in: the kernel lets nobody write to what has an id
    that the map lacks (inode_permission), and a project's directory of the user's is of such a group. All others are
    nobody's there (65534). A child makes the namespace and ends, the descriptor holds it; its maps are ours to write
    (user_namespaces(7), CAP_SETUID and CAP_SETGID).
    """
    others = [group for group in dict.fromkeys(groups) if group not in (0, gid, remapped[1])][:MOST_GROUPS]
    pairs = [(gid, remapped[1]), *((group, group) for group in others)]
    gid_map = "".join(f"{inside} {outside} 1\n" for inside, outside in pairs)
    ready, over = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(over[1])
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(ready[1], b"x")
            os.read(over[0], 1)  # until the parent has its descriptor, or is gone
        finally:
            os._exit(0)
    try:
        os.close(ready[1])
        if not os.read(ready[0], 1):
            raise Unowned("the broker may make no user namespace here (RestrictNamespaces= of its unit)")
        linux.write(f"/proc/{child}/uid_map", f"{uid} {remapped[0]} 1")
        linux.write(f"/proc/{child}/gid_map", gid_map)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (ready[0], *over):
            os.close(fd)
        os.waitpid(child, 0)


def detached(fd: int, *, readonly: bool, noexec: bool, user_namespace: int = 0) -> int:
    """A detached copy of what `fd` is, with all mounts below it, nosuid and nodev. Raises OSError, Unowned.

    Args:
        user_namespace: of `identities`; 0: ids are as they are.
    """
    tree = linux.open_tree(fd, linux.OPEN_TREE_CLONE | linux.AT_EMPTY_PATH | linux.AT_RECURSIVE)
    attributes = linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV
    if readonly:
        attributes |= linux.MOUNT_ATTR_RDONLY
    if noexec:
        attributes |= linux.MOUNT_ATTR_NOEXEC
    everywhere = linux.AT_EMPTY_PATH | linux.AT_RECURSIVE
    linux.mount_setattr(tree, everywhere, attributes)
    if user_namespace:
        try:
            linux.mount_setattr(tree, everywhere, linux.MOUNT_ATTR_IDMAP, user_namespace)
        except OSError as error:  # EINVAL: a file system of it cannot; EPERM: another's user namespace has mounted it
            raise Unowned(error.errno, os.strerror(error.errno or 0)) from None
    return tree


def put(tree: int, place: str, kind: str) -> None:
    """Mount a detached tree on `place`, below a directory that only root may enter. Raises OSError."""
    os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
    if kind == "directory":
        os.mkdir(place, 0o700)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    target = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        linux.move_mount(tree, target)
    finally:
        os.close(target)


def directory(key: str, nonce: str, run: str = config.RUN) -> str:
    """Where the stages of a container are."""
    return f"{run}/stage/{key}.{nonce}"


OWN = ("passwd", "group", "hosts")


def write(top: str, name: str, data: bytes, label: str = "") -> str:
    """A file of our own in a stage directory, for everybody in the container to read; its path. Raises OSError.

    Args:
        label: SELinux's; "" leaves the one that files in the run directory have.
    """
    os.makedirs(top, 0o700, exist_ok=True)
    path = f"{top}/{name}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        if label:
            os.setxattr(file.fileno(), "security.selinux", f"{label}\0".encode())
        file.write(data)
    return path


def remove_own(top: str) -> bool:
    """Remove a stage directory that has files of ours alone, which needs no mount namespace. False: it has more."""
    try:
        for name in OWN:
            if os.path.exists(f"{top}/{name}"):
                os.unlink(f"{top}/{name}")
        os.rmdir(top)
    except OSError:
        return False
    return True


def of_job(key: str, run: str = config.RUN) -> list[str]:
    """The stage directories of a job."""
    try:
        return [f"{run}/stage/{name}" for name in os.listdir(f"{run}/stage") if name.startswith(f"{key}.")]
    except FileNotFoundError:
        return []


def remove(top: str) -> None:
    """Unmount and remove a stage directory. Idempotent, raises nothing.

    Never recursive: rmdir and unlink refuse what is still mounted on or not empty, so a user's file is
    never reached. MNT_DETACH, as the file system behind may hang.
    """
    for mount in reversed(linux.mounts_of("self")):
        if mount.point.startswith(f"{top}/"):
            try:
                linux.umount2(mount.point, linux.MNT_DETACH | linux.UMOUNT_NOFOLLOW)
            except OSError:
                pass
    mounted = {mount.point for mount in linux.mounts_of("self")}
    try:
        with os.scandir(top) as entries:
            places = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for place, is_directory in places:
            try:
                if is_directory:
                    os.rmdir(place)
                elif place not in mounted:  # unlink of a mount point would succeed, and take it away from others
                    os.unlink(place)
            except FileNotFoundError:
                pass  # broker and Epilog may be at it both: the slower one goes on
        os.rmdir(top)
    except OSError:
        pass  # what is still there is seen by the Epilog's fresh look

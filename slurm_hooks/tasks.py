# SPDX-License-Identifier: Apache-2.0
"""What containerd still has of a container that dockerd has forgotten, or cannot take down: task, shim, root mount.

    <state>/io.containerd.runtime.v2.task/<namespace>/<id>/     the bundle, there as long as the task is
        config.json    the OCI configuration: root.path is where the image's layers are mounted together

dockerd asks containerd for a task and mounts its root by itself; so when dockerd is away or has lost the
container's directory, nobody takes either down (seen with 26.1: after its restart the container runs on,
and dockerd neither lists nor ends it; one whose shim does not answer for 10 s it removes from its list all the
same). Asked through ctr(8), which comes with containerd.
"""

from __future__ import annotations

import glob
import json
import os
import time

from slurm_hooks import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# containerd's state directory and its socket: the distribution's own service, and one that dockerd starts itself.
STATES = (
    ("/run/containerd", "/run/containerd/containerd.sock"),
    ("/run/slurm-hooks-docker/exec/containerd/daemon", "/run/slurm-hooks-docker/exec/containerd/containerd.sock"),
    ("/run/docker/containerd/daemon", "/run/docker/containerd/containerd.sock"),
)
PARALLEL = 8
SHIM = "containerd-shim"  # the kernel keeps 15 characters of containerd-shim-runc-v2 (proc_pid_comm(5))
SHIM_SECONDS = 3.0  # for containerd to clean up after a shim that was killed


class Task:
    """A task's bundle, and the containerd that has it."""

    __slots__ = ("bundle", "socket")

    def __init__(self, bundle: str, socket: str) -> None:
        self.bundle, self.socket = bundle, socket

    @property
    def id(self) -> str:
        """The container's."""
        return os.path.basename(self.bundle)

    @property
    def namespace(self) -> str:
        """containerd's: slurm-jobs as shipped, moby where the site has one dockerd for all."""
        return os.path.basename(os.path.dirname(self.bundle))


def of(ids: Iterable[str], states: tuple[tuple[str, str], ...] = STATES) -> list[Task]:
    """The tasks of these containers; a look by name, so its cost does not grow with what others have."""
    return [
        Task(bundle, socket)
        for state, socket in states
        for container in ids
        if len(container) == 64 and container.isalnum()
        for bundle in glob.glob(f"{state}/io.containerd.runtime.v2.task/*/{container}")
    ]


def is_left(container: str, root: str) -> bool:
    """Has containerd a task of it, or is its root mounted? Asked of what dockerd has no more. Cheap, and waits not."""
    return bool(of([container])) or is_mounted(root)


def is_mounted(root: str) -> bool:
    """Is a container's root mounted, also one whose FUSE server died? The same at any number of mounts on the node."""
    try:
        return bool(root) and os.lstat(root).st_dev != os.lstat(os.path.dirname(root)).st_dev
    except FileNotFoundError:
        return False
    except OSError:  # ENOTCONN
        return True


def shims(wanted: Mapping[str, int]) -> list[tuple[int, str, str]]:
    """(pid, container's id, program) of the containerd-shim processes of these containers.

    Args:
        wanted: a container's id → the pid that its shim had, or 0: not known, and all of /proc is read.
    """
    pids = wanted.values() if all(wanted.values()) else map(int, filter(str.isdigit, os.listdir("/proc")))
    found = []
    for pid in pids:
        try:
            line = _shim(pid)
        except OSError:
            continue  # gone
        found += [(pid, container, line[0]) for container in wanted.keys() & set(line)]
    return found


def is_shim(pid: int, container: str) -> bool:
    """Is a process the containerd-shim of this container?"""
    try:
        return container in _shim(pid)
    except OSError:
        return False  # gone


def _shim(pid: int) -> list[str]:
    """A shim's command line; empty where the process is none. Raises OSError."""
    # Root's: what another user calls so, with an id that `ps` shows to all, is not to be blamed on a job, or ended.
    if linux.read(f"/proc/{pid}/comm").rstrip("\n") != SHIM or os.stat(f"/proc/{pid}").st_uid != 0:
        return []
    return linux.read(f"/proc/{pid}/cmdline").split("\0")


def end(tasks: list[Task], seconds: float) -> None:
    """Have containerd delete the tasks, and their shims with them; then unmount their roots. Raises nothing.

    A shim that does not answer containerd is killed, and containerd then cleans up after it. That is safe where no
    process of the container is left, which is the caller's to know: it would lose its parent, and nothing else.
    """
    deadline = time.monotonic() + seconds
    roots = {task.id: _root(task) for task in tasks}
    from concurrent.futures import ThreadPoolExecutor  # seldom needed, and dear to import

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda task: _delete(task, deadline), tasks))
    if stuck := [task for task in tasks if os.path.isdir(task.bundle)]:
        for pid, container, _ in shims({task.id: 0 for task in stuck}):
            linux.kill_where(pid, lambda pid=pid, id=container: is_shim(pid, id))  # type: ignore[misc]
        deadline = time.monotonic() + SHIM_SECONDS
        while any(os.path.isdir(task.bundle) for task in stuck) and time.monotonic() < deadline:
            time.sleep(0.05)
    unmount(roots[task.id] for task in tasks if not os.path.isdir(task.bundle))


def unmount(roots: Iterable[str]) -> None:
    """Unmount those of these roots that are mounted, as dockerd does; the layers are its to remove. Raises nothing."""
    # The table of mounts grows with the node's containers; whether one of ours is mounted is asked of itself.
    wanted = {root for root in roots if is_mounted(root)}
    for mount in linux.mounts_of("self") if wanted else ():
        if mount.point in wanted and mount.kind in ("overlay", "fuse.fuse-overlayfs"):
            try:
                linux.umount2(mount.point, linux.MNT_DETACH | linux.UMOUNT_NOFOLLOW)
            except OSError:
                pass  # the fresh look tells


def _delete(task: Task, deadline: float) -> None:
    import subprocess

    for verb in (("tasks", "delete", "--force"), ("containers", "delete")):
        left = deadline - time.monotonic()
        if left <= 0:
            return
        try:
            subprocess.run(
                ["ctr", "--address", task.socket, "--namespace", task.namespace, *verb, task.id],
                capture_output=True,
                timeout=left,
                check=False,
                env={"PATH": "/usr/bin:/usr/sbin:/usr/local/bin"},
            )
        except (OSError, subprocess.SubprocessError):
            return  # no ctr, or containerd does not answer: shim and bundle stay, and are seen


def _root(task: Task) -> str:
    try:
        return str(json.loads(linux.read(f"{task.bundle}/config.json"))["root"]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""

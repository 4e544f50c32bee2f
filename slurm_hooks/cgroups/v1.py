# SPDX-License-Identifier: Apache-2.0
"""The job's cgroup on the hierarchies of cgroup v1.

Slurm keeps no pids hierarchy on v1; we keep one, at Slurm's own relative path,
so that containers with that parent nest in it by themselves. runc makes the
parent path in every hierarchy, Slurm removes only its own: we sweep them all.
Sources: Documentation/admin-guide/cgroup-v1/; Slurm's cgroup_v1.c, xcgroup.c.
"""

from __future__ import annotations

import errno
import os
import time

from slurm_hooks import linux
from slurm_hooks.cgroups import limits
from slurm_hooks.errors import NodeFault

NO_LIMIT = 1 << 60  # memory.limit_in_bytes has no word for it: a number just below 2^63


class V1:
    """cgroups.Hierarchy for cgroup v1."""

    version = 1

    def __init__(self, mount: str) -> None:
        self.mount = mount

    def _pids(self, path: str, file: str = "") -> str:
        return f"{self.mount}/pids{path}/{file}" if file else f"{self.mount}/pids{path}"

    def _hierarchies(self) -> list[str]:
        """Mount points, each once: cpu and cpuacct may be links to one of both.

        The v2 tree that systemd has beside them (/sys/fs/cgroup/unified) is one: runc 1.1 makes its cgroups there too.
        """
        found = {}
        with os.scandir(self.mount) as entries:
            for entry in entries:
                if entry.is_dir() and os.path.exists(f"{entry.path}/cgroup.procs"):
                    facts = os.stat(entry.path)
                    found[facts.st_dev, facts.st_ino] = entry.path
        return list(found.values())

    def identity(self, lines: dict[str, str]) -> str:
        path = lines.get("freezer", "")  # proctrack/cgroup puts every process of a step there
        if "/job_" in path and "/" not in path.partition("/job_")[2]:
            # Not a TaskEpilog: it is slurmstepd's child, which stays at the job's own level of this hierarchy alone.
            # Nobody but root can put a process there; a container's lie one level deeper.
            return next((other for other in lines.values() if other.startswith(f"{path}/step_")), path)
        return path

    def make(self, root: str, path: str) -> bool:
        if not os.path.isdir(self._pids("")):
            raise NodeFault(self._pids(""), "no pids hierarchy is mounted", "Mount it, or jobs have no process limit.")
        made = not os.path.isdir(self._pids(path))
        os.makedirs(self._pids(path), 0o755, exist_ok=True)
        return made

    def pids_max(self, path: str) -> list[tuple[str, int | None]]:
        return limits.levels(path, lambda level: linux.read(self._pids(level, "pids.max")))

    def pids_now(self, path: str) -> int:
        return int(linux.read(self._pids(path, "pids.current")))

    def set_pids_max(self, path: str, limit: int) -> None:
        linux.write(self._pids(path, "pids.max"), str(limit))

    def processes(self, path: str) -> list[int]:
        pids: set[int] = set()
        for hierarchy in (f"{self.mount}/pids", f"{self.mount}/freezer"):
            for directory in linux.tree_of(hierarchy + path):
                pids.update(_procs(directory))
        return sorted(pids)

    def kill(self, path: str) -> None:
        # No cgroup.kill on v1: freeze so that nothing forks while we list, kill, thaw. A signal to a frozen task
        # is delivered when it thaws. Slurm's own step directories of the job are frozen with it, for milliseconds.
        freezer = f"{self.mount}/freezer{path}"
        _freeze(freezer, "FROZEN")
        try:
            self._end(self.processes(path), path)
        finally:
            for directory in linux.tree_of(freezer):  # a paused container is frozen by itself
                _freeze(directory, "THAWED")

    def _end(self, pids: list[int], path: str) -> None:
        """SIGKILL to each that is in there still, asked once its pidfd is open: a number may be another's by then."""
        for pid in pids:
            linux.kill_where(pid, lambda pid=pid: linux.is_inside(pid, path))  # type: ignore[misc]

    def wait_empty(self, path: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        pause = 0.002
        while pids := self.processes(path):
            if time.monotonic() >= deadline:
                return False
            self._end(pids, path)  # one that was forked while we listed
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return True

    def remove(self, root: str, path: str) -> list[str]:
        left: list[str] = []
        for hierarchy in self._hierarchies():
            with linux.Locked(hierarchy, within=1.0):  # Slurm locks each controller's mount point
                for directory in linux.tree_of(hierarchy + path):
                    try:
                        os.rmdir(directory)
                    except FileNotFoundError:
                        pass
                    except OSError:
                        left.append(directory)
                above = hierarchy + path.rpartition("/")[0]
                try:
                    if os.path.basename(above).startswith("uid_"):  # above a container's it is its job's
                        os.rmdir(above)  # the last job of a user here leaves an empty uid_ directory
                except OSError:
                    pass
        return left

    def exists(self, path: str) -> bool:
        return any(os.path.isdir(hierarchy + path) for hierarchy in self._hierarchies())

    def peaks(self, path: str) -> dict[str, int]:
        found: dict[str, int] = {}
        files = (
            ("pids", f"{self.mount}/pids{path}/pids.peak"),
            ("memory", f"{self.mount}/memory{path}/memory.max_usage_in_bytes"),
        )
        for name, file in files:
            try:
                found[name] = int(linux.read(file))
            except (OSError, ValueError):
                pass
        return found

    def counts(self, path: str) -> dict[str, int]:
        found: dict[str, int] = {}
        try:
            found["cpu"] = int(linux.read(f"{self.mount}/cpuacct{path}/cpuacct.usage")) // 1_000_000
        except (OSError, ValueError):
            pass
        for name, file, key in (
            ("oom", f"{self.mount}/memory{path}/memory.oom_control", "oom_kill"),  # Linux 4.13
            ("full", f"{self.mount}/pids{path}/pids.events", "max"),
        ):
            value = linux.keyed(file, key)
            if value is not None:
                found[name] = value
        return found

    def memory_limit(self, path: str) -> int:
        levels = limits.levels(path, lambda level: linux.read(f"{self.mount}/memory{level}/memory.limit_in_bytes"))
        return min((limit for _, limit in levels if limit is not None and limit < NO_LIMIT), default=0)

    def suspended(self, path: str) -> bool:
        # Slurm writes freezer.state of the step's directory; its own slurmstepd is at the job's level.
        steps = [f"{path}/{step.rpartition('/')[2]}" for step in _steps(f"{self.mount}/freezer{path}")]
        return bool(steps) and all(map(self.frozen, steps))

    def frozen(self, path: str) -> bool:
        try:
            return linux.read(f"{self.mount}/freezer{path}/freezer.self_freezing").strip() == "1"
        except OSError:
            return False

    def freeze(self, path: str, *, frozen: bool) -> None:
        _freeze(f"{self.mount}/freezer{path}", "FROZEN" if frozen else "THAWED")

    def let_runc_in(self, path: str) -> None:
        """Take back, of each device that Slurm denies to the job (ConstrainDevices), the right to make a node of it.

        runc allows each container `c *:* m`, which the kernel refuses below a cgroup that is denied any of it, and no
        container starts (device_cgroup.c, verify_new_ex; runc issue 1618). To read and write stays denied, and mknod
        is for capabilities that no process of the job has. What is denied the kernel does not list, so it is tried.
        """
        from slurm_hooks import devnodes

        devices = f"{self.mount}/devices{path}"
        try:
            if not linux.read(f"{devices}/devices.list").startswith("a *:* rwm"):
                return  # it lists what is allowed: the node is in a container itself, and that has `c *:* m`
            allow = os.open(f"{devices}/devices.allow", os.O_WRONLY | os.O_CLOEXEC)
            try:
                for numbers in set(devnodes.of_process(1).values()):
                    os.write(allow, f"{numbers} m".encode())
            finally:
                os.close(allow)
        except OSError:
            pass  # no such hierarchy, or Slurm does not use it; else runc itself says what it may not do

    def hold_steps(self, path: str, figure: int) -> None:
        """Move the pids of the job's steps into our pids hierarchy until a pass moves none.

        Containers are in their own directories of it already. slurmstepd, which is at the job's own level of the
        freezer tree, stays outside: a full job must not take its threads. So a task is born outside too, and
        comes in by its TaskProlog, before the user's program starts.
        """
        target = self._pids(path, "cgroup.procs")
        for _ in range(50):
            inside = set(_procs(self._pids(path)))
            strangers = [pid for pid in self._slurm_processes(path) if pid not in inside]
            if not strangers:
                break
            for pid in strangers:
                try:
                    linux.write(target, str(pid))
                except OSError as error:
                    if error.errno != errno.ESRCH:
                        raise

    def _slurm_processes(self, path: str) -> list[int]:
        pids: list[int] = []
        for step in _steps(f"{self.mount}/freezer{path}"):
            for directory in linux.tree_of(step):
                pids += _procs(directory)
        return pids


def _steps(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.name.startswith("step_")]
    except OSError:
        return []


def _procs(directory: str) -> list[int]:
    try:
        return [int(pid) for pid in linux.read(f"{directory}/cgroup.procs").split()]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return []
        raise


def _freeze(directory: str, state: str) -> None:
    try:
        linux.write(f"{directory}/freezer.state", state)
    except OSError:
        pass  # no such directory, or it goes away: the kill does not depend on it

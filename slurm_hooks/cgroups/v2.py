# SPDX-License-Identifier: Apache-2.0
"""The job's cgroup on the unified hierarchy.

Sources: Documentation/admin-guide/cgroup-v2.rst; Slurm's cgroup_v2.c (make and
remove job directories under flock() on the scope directory, tolerating one
that exists).
"""

from __future__ import annotations

import errno
import os
import time

from slurm_hooks import linux
from slurm_hooks.cgroups import limits
from slurm_hooks.errors import NodeFault

# Slurm holds its lock for a mkdir or an rmdir; a slurmstepd that was killed releases it by dying.
LOCK_SECONDS = 5.0


class V2:
    """cgroups.Hierarchy for cgroup v2."""

    version = 2

    def __init__(self, mount: str) -> None:
        self.mount = mount

    def _at(self, path: str, file: str = "") -> str:
        return f"{self.mount}{path}/{file}" if file else f"{self.mount}{path}"

    def identity(self, lines: dict[str, str]) -> str:
        return lines.get("", "")

    def make(self, root: str, path: str) -> bool:
        # Slurm up to 24.11 enables only cpuset, cpu and memory. Enabling pids down to the scope is legal: no
        # level above the job holds processes (no-internal-process rule), and Slurm never writes "-pids".
        self._enable_pids_down_to(root)
        with linux.Locked(self._at(root), within=LOCK_SECONDS) as lock:
            if not lock.held:
                raise NodeFault(self._at(root), f"Slurm held its lock for {LOCK_SECONDS:.0f} s")
            try:
                os.mkdir(self._at(path), 0o755)
                return True
            except FileExistsError:
                return False

    def _enable_pids_down_to(self, path: str) -> None:
        levels = [""]
        for part in path.strip("/").split("/"):
            levels.append(f"{levels[-1]}/{part}")
        # From the scope upwards find the first level that has it, then enable from there down.
        missing = []
        for level in reversed(levels):
            if "pids" in linux.read(self._at(level, "cgroup.subtree_control")).split():
                break
            missing.append(level)
        for level in reversed(missing):
            try:
                linux.write(self._at(level, "cgroup.subtree_control"), "+pids")
            except OSError as error:
                raise NodeFault(self._at(level), f"the pids controller cannot be enabled ({error.strerror})") from None

    def pids_max(self, path: str) -> list[tuple[str, int | None]]:
        return limits.levels(path, lambda level: linux.read(self._at(level, "pids.max")))

    def pids_now(self, path: str) -> int:
        return int(linux.read(self._at(path, "pids.current")))

    def set_pids_max(self, path: str, limit: int) -> None:
        linux.write(self._at(path, "pids.max"), str(limit))

    def processes(self, path: str) -> list[int]:
        pids: list[int] = []
        for directory in linux.tree_of(self._at(path)):
            try:
                pids += map(int, linux.read(f"{directory}/cgroup.procs").split())
            except OSError as error:
                # EOPNOTSUPP: a threaded cgroup lists its processes at the domain above, which we read too.
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    raise
        return pids

    def kill(self, path: str) -> None:
        try:
            linux.write(self._at(path, "cgroup.kill"), "1")  # Linux 5.14: the whole subtree, racing forks too
        except (FileNotFoundError, OSError) as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def wait_empty(self, path: str, seconds: float) -> bool:
        import select

        try:
            fd = os.open(self._at(path, "cgroup.events"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            deadline = time.monotonic() + seconds
            while True:
                try:
                    if b"populated 0" in os.pread(fd, 256, 0):
                        return True
                except OSError as error:
                    if error.errno == errno.ENODEV:  # the cgroup was removed under us
                        return True
                    raise
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poll.poll(left * 1000)
        finally:
            os.close(fd)

    def remove(self, root: str, path: str) -> list[str]:
        left: list[str] = []
        with linux.Locked(self._at(root), within=LOCK_SECONDS):
            for directory in linux.tree_of(self._at(path)):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    pass
                except OSError:
                    left.append(directory)
        return left

    def exists(self, path: str) -> bool:
        return os.path.isdir(self._at(path))

    def peaks(self, path: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, file in (("pids", "pids.peak"), ("memory", "memory.peak")):
            try:
                found[name] = int(linux.read(self._at(path, file)))
            except (OSError, ValueError):
                pass  # pids.peak came with Linux 6.8, memory.peak with 5.19
        return found

    def counts(self, path: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, file, key, per in (
            ("cpu", "cpu.stat", "usage_usec", 1000),
            ("oom", "memory.events", "oom_kill", 1),
            ("full", "pids.events", "max", 1),
        ):
            value = linux.keyed(self._at(path, file), key)
            if value is not None:
                found[name] = value // per
        return found

    def memory_limit(self, path: str) -> int:
        levels = limits.levels(path, lambda level: linux.read(self._at(level, "memory.max")))
        return min((limit for _, limit in levels if limit is not None), default=0)

    def suspended(self, path: str) -> bool:
        # Slurm writes cgroup.freeze of step_*/user, where the tasks are, never of slurm/ with its own slurmstepd.
        tasks = [f"{step}/user" for step in self._steps(path) if self.exists(f"{step}/user")]
        return bool(tasks) and all(map(self.frozen, tasks))

    def frozen(self, path: str) -> bool:
        try:
            return linux.read(self._at(path, "cgroup.freeze")).strip() == "1"
        except OSError:
            return False

    def freeze(self, path: str, *, frozen: bool) -> None:
        try:
            linux.write(self._at(path, "cgroup.freeze"), "1" if frozen else "0")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def let_runc_in(self, path: str) -> None:
        pass  # Slurm's program yields to runc's (BPF_F_ALLOW_OVERRIDE)

    def hold_steps(self, path: str, figure: int) -> None:
        # A step's user/ has the tasks, slurm/ beside it the slurmstepd. A step that could eat the whole job's
        # pids.max leaves slurmstepd without threads: it dies of that ("fatal: pthread_create error", 24.11), and
        # slurmd waits minutes for it with the node completing.
        for step in self._steps(path):
            limit = self._at(step, "user/pids.max")
            try:
                if not os.path.exists(limit):
                    linux.write(self._at(path, "cgroup.subtree_control"), "+pids")
                    linux.write(self._at(step, "cgroup.subtree_control"), "+pids")
                if limits.parsed(linux.read(limit)) != figure:
                    linux.write(limit, str(figure))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):  # the step is over
                    raise

    def _steps(self, path: str) -> list[str]:
        try:
            with os.scandir(self._at(path)) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return [f"{path}/{name}" for name in names if name.startswith("step_")]

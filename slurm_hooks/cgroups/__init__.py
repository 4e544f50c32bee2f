# SPDX-License-Identifier: Apache-2.0
"""The job's cgroup, on cgroup v1 and v2 alike.

A job's cgroup is named by one relative path, the same below every mount point:
`/system.slice/cn1_slurmstepd.scope/job_12` on v2, `/slurm_cn1/uid_1001/job_12`
on v1 in each hierarchy. `slurm.py` knows where each Slurm release puts it;
`v1.py` and `v2.py` have the same verbs; `limits.py` does the arithmetic.
"""

from __future__ import annotations

import os

MOUNT = "/sys/fs/cgroup"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Hierarchy(Protocol):
        """The verbs of v1.V1 and v2.V2; every `path` is relative to the mount point."""

        version: int

        def identity(self, lines: dict[str, str]) -> str:
            """Of /proc/<pid>/cgroup, the path that places a process in a job."""

        def make(self, root: str, path: str) -> bool:
            """Make the job's cgroup below Slurm's `root`, with a pids controller. False: it was there."""

        def pids_max(self, path: str) -> list[tuple[str, int | None]]:
            """pids.max at each level from `path` up to the root; None stands for "max"."""

        def pids_now(self, path: str) -> int:
            """Tasks in `path` and below (pids.current). Raises OSError."""

        def set_pids_max(self, path: str, limit: int) -> None:
            """Set pids.max of `path` (processes and threads)."""

        def processes(self, path: str) -> list[int]:
            """Every pid in `path` and below."""

        def kill(self, path: str) -> None:
            """SIGKILL to all in `path` and below, frozen ones too."""

        def wait_empty(self, path: str, seconds: float) -> bool:
            """Wait until no process is left in `path` and below; False: the time ran out."""

        def remove(self, root: str, path: str) -> list[str]:
            """Remove `path` and all below; what could not be removed is returned, whole paths."""

        def exists(self, path: str) -> bool:
            """Is there a cgroup of that path (v1: in any hierarchy)?"""

        def peaks(self, path: str) -> dict[str, int]:
            """High-water marks: `pids` (number), `memory` (bytes); what the kernel does not tell is absent."""

        def counts(self, path: str) -> dict[str, int]:
            """`cpu` (ms), `oom` (processes ended for memory), `full` (forks refused); what is not told is absent."""

        def memory_limit(self, path: str) -> int:
            """The least memory limit from `path` up to the root, bytes; 0: none."""

        def suspended(self, path: str) -> bool:
            """Are all steps of the job frozen (scontrol suspend), and is there one?"""

        def frozen(self, path: str) -> bool:
            """Was this cgroup itself frozen (not one above it)?"""

        def freeze(self, path: str, *, frozen: bool) -> None:
            """Freeze or thaw a container's cgroup; gone already is fine."""

        def let_runc_in(self, path: str) -> None:
            """Make Slurm's fence around the job's devices one that a container of runc's can start in."""

        def hold_steps(self, path: str, figure: int) -> None:
            """Bring the processes of the job's steps under its figure, and leave Slurm's own threads their room."""


def containers(hierarchy: str, path: str) -> list[str]:
    """The cgroups directly below the job's that are not Slurm's own steps, by `hierarchy`, a mount point."""
    try:
        with os.scandir(hierarchy + path) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [f"{path}/{name}" for name in names if not name.startswith("step_")]


def of(version: int, mount: str = MOUNT) -> Hierarchy:
    """The verbs for a cgroup version. One of the two modules is imported, as hooks have milliseconds."""
    if version == 2:
        from slurm_hooks.cgroups.v2 import V2

        return V2(mount)
    from slurm_hooks.cgroups.v1 import V1

    return V1(mount)

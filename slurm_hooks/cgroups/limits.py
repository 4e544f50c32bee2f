# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of limits, above all pids.max: pure.

The limit in force at a cgroup is the smallest of its own and its ancestors'
(Documentation/admin-guide/cgroup-v2.rst, PID). It counts threads, and it counts
Slurm's own: 15 of each slurmstepd in 24.11, 9 in 26.05. So the site's figure
gets a reserve on top.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def parsed(text: str) -> int | None:
    """A limit file's content; None for "max"."""
    text = text.strip()
    return None if text == "max" else int(text)


def levels(path: str, read: Callable[[str], str]) -> list[tuple[str, int | None]]:
    """The limits from `path` up to the root; `read` gives a level's file, whose absence is no limit of its own.

    It is absent where the level above does not delegate the controller.
    """
    found: list[tuple[str, int | None]] = []
    while path:
        try:
            found.append((path, parsed(read(path))))
        except FileNotFoundError:
            pass
        path = path.rpartition("/")[0]
    return found


def lowest(levels: list[tuple[str, int | None]], ceiling: int) -> tuple[int, str]:
    """The smallest limit among (path, limit) pairs and whose it is; the kernel's `ceiling` where none is set."""
    limit, where = ceiling, "kernel.pid_max"
    for path, value in levels:
        if value is not None and value < limit:
            limit, where = value, path
    return limit, where


def of_all_jobs(pid_max: int, threads_max: int, reserve: int) -> int:
    """The most that all jobs of a node may be together, so that its own daemons have their reserve.

    Args:
        pid_max, threads_max: of sysctl kernel.*; the kernel refuses a fork at either (proc_sys_kernel(5)).
    """
    return max(min(pid_max, threads_max) - reserve, 1)


def chosen(site: dict[str, int], partitions: dict[str, dict[str, int | None]], partition: str) -> tuple[int, int, str]:
    """(limit, reserve, why) by the site's configuration; `site` is its [job] table."""
    limit, why = site["pids"], "the site's default"
    own = partitions.get(partition, {}).get("pids")
    if own is not None:
        limit, why = own, f"partition {partition}"
    return limit, site["slurm_reserve"], why


def settled(limit: int, reserve: int, why: str, above: int, whose: str) -> tuple[int, int, str]:
    """(the figure for the job's own processes, pids.max of its cgroup, why both).

    Args:
        limit: by the configuration, and `why` in words.
        reserve: for slurmstepd's threads where they count.
        above: the smallest limit of the ancestors, and `whose` it is. Never exceeded; the reserve comes first.
    """
    pids = min(limit + reserve, above)
    figure = max(min(limit, pids - reserve), 1)
    why = f"{limit} by {why}" + (f" + {reserve} for Slurm's own" if reserve else "")
    if pids < limit + reserve:
        why += f", held down to {above} by {whose}"
    return figure, pids, why

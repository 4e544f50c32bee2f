# SPDX-License-Identifier: Apache-2.0
"""What became of a job's containers, for its user: how each ended and what it took.

The figures are of the container's own cgroup, which goes within milliseconds of its first process. So they are
read when the pidfd of that process says that it has exited, before dockerd has heard of it. They wait here for
dockerd's word of the exit status; then they are written into the job's record, as `ops/ended`. Where the broker
comes too late for them, a node being short of processors or memory, that memory was wanting is known of dockerd.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from slurm_hooks import cgroups, figures, jobs, linux
from slurm_hooks.broker import notes, readback
from slurm_hooks.broker.peers import BATCH, Asker

KEPT = 20  # containers of a job that are told one by one: the last ones
WAITING = 10_000  # figures kept for dockerd's word, which may be missed
KILLED = 128 + signal.SIGKILL
SETTLE_SECONDS = 1.0  # that dockerd has for its word of a container that has ended, before the account is told

_figures: dict[str, dict[str, int]] = {}  # nonce → of a container that has ended
_starved: dict[str, dict[str, int]] = {}  # nonce → that memory was wanting for the container, by dockerd's word
_watched: set[str] = set()  # nonces of containers whose end we shall see
_heard = asyncio.Event()  # dockerd has said how another container ended


def watch(nonce: str, pid: int, version: int, cgroup: str) -> None:
    """Read the figures of the container when its first process ends; `cgroup` is where the kernel has that one."""
    try:
        pidfd = linux.pidfd_of(pid)
    except OSError:  # over already: nothing is left to be read
        return
    try:
        same = readback.cgroup_of(pid, version) == cgroup
    except OSError:
        same = False
    if not same:
        os.close(pidfd)
        return
    _watched.add(nonce)
    asyncio.get_running_loop().add_reader(pidfd, _ended, pidfd, nonce, version, cgroup)


def is_watched(nonce: str) -> bool:
    """Not so: a broker before us has started the container."""
    return nonce in _watched


def _ended(pidfd: int, nonce: str, version: int, cgroup: str) -> None:
    hierarchy = cgroups.of(version)
    _watched.discard(nonce)
    _figures[nonce] = hierarchy.peaks(cgroup) | hierarchy.counts(cgroup)
    _bound(_figures)
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)


def starved(nonce: str) -> None:
    """dockerd says that the kernel had no memory for this container, or on cgroup v1 for any of the job's.

    There the kernel tells each cgroup below the one whose limit was met, also of those that lose no process
    (mm/memcontrol-v1.c, mem_cgroup_oom_notify; seen on 6.18). So it is no verdict where the container's own count was
    read.
    """
    _starved[nonce] = {"oom": 1}
    _bound(_starved)


def taken(nonce: str, status: int) -> dict[str, int]:
    """The figures of a container that has ended: `memory` (bytes) and `pids` at most, `cpu` (ms), `oom`, `full`.

    `status`: its exit status.
    """
    _heard.set()
    read, word = _figures.pop(nonce, {}), _starved.pop(nonce, {})
    return word | read if status == KILLED else read


def _bound(waiting: dict[str, dict[str, int]]) -> None:
    if len(waiting) > WAITING:
        del waiting[next(iter(waiting))]


async def settled(job: jobs.Job) -> None:
    """Wait for dockerd's word of the job's containers that have ended, if not for long.

    `docker run` returns when dockerd has the exit status; its event comes later, after the status is on the disk
    (moby's daemon/monitor.go), and a script's last line may be there before it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(note.nonce in _figures for note in notes.of(job)):
                _heard.clear()
                await _heard.wait()


def keep(job: jobs.Job, entry: dict[str, Any]) -> None:
    """Add a container to the job's account: name, image, exit status, seconds, figures; `limit` pids, `most` bytes."""
    account = _read(job)
    account["containers"] += 1
    account["failed"] += entry["exit"] != 0
    account["untold"] += 1
    account["last"] = [*account["last"], entry][-KEPT:]
    _write(job, account)


def _read(job: jobs.Job) -> dict[str, Any]:
    try:
        account: dict[str, Any] = json.loads(linux.read(f"{jobs.directory(job.key)}/ops/ended"))
    except (OSError, ValueError):
        account = {"containers": 0, "failed": 0, "untold": 0, "last": []}
    return account


def _write(job: jobs.Job, account: dict[str, Any]) -> None:
    try:
        linux.replace(f"{jobs.directory(job.key)}/ops/ended", json.dumps(account))
    except OSError:
        pass  # the run directory is full: the user does without


def of(job: jobs.Job) -> list[dict[str, Any]]:
    """The last containers of the job that have ended, for `slurm-hooks usage`."""
    last: list[dict[str, Any]] = _read(job)["last"]
    return last


def told(asker: Asker) -> str:
    """The account for the TaskEpilog: of the whole job at the end of its batch script, of the new ones after a step.

    Steps of a batch job say nothing, since its script goes on and the end will tell.
    """
    job = asker.job
    account = _read(job)
    batch = asker.step == BATCH
    if not account["untold"] or (not batch and cgroups.of(job.version).exists(f"{job.cgroup}/step_{BATCH}")):
        return ""
    number = account["containers"] if batch else account["untold"]
    last = account["last"][-number:]
    failed = account["failed"] if batch else sum(entry["exit"] != 0 for entry in last)
    _write(job, account | {"untold": 0})
    limit = cgroups.of(job.version).memory_limit(job.cgroup)
    head = f"slurm-hooks: job {job.id} ran {number} container{'s' * (number > 1)}, {failed or 'none'} failed"
    if number > len(last):
        head += f"; the last {len(last)}"
    return "\n".join([f"{head}:", *(f"  {line(entry, limit)}" for entry in last)])


def line(entry: Mapping[str, Any], limit: int) -> str:
    """One container, as its user reads it; `limit`: of the job's memory, bytes, 0 for none."""
    said = [f"exit {entry['exit']}"]
    if entry.get("oom"):
        own = entry.get("most", 0)
        if own and (not limit or own < limit):
            whose = f"its own limit is {figures.size(own)}"
        else:
            whose = f"the job's limit is {figures.size(limit)}" if limit else "the node had none left"
        said[0] += f", processes ended for want of memory ({whose})"
    elif entry["exit"] > 128:
        said[0] += f" (signal {entry['exit'] - 128})"
    if entry.get("full"):
        said.append(f"its limit of {entry['limit']} processes was reached")
    said += [f"{entry['seconds']:.1f} s", *figures.used(entry)]
    return f"{entry['name']} ({figures.image(entry['image'])}): {', '.join(said)}"

# SPDX-License-Identifier: Apache-2.0
"""Who is asking: told by the kernel at connect, and asked again at each request.

The peer's pid comes with a pidfd; its cgroup is read by pid, and the pidfd then
proves that this pid was still the peer's. The cgroup's path must begin with one
that a Prolog registered, and go on with a step of Slurm's: a container of the
job lies beside the steps and is not the job. The uid must be the job's.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from slurm_hooks import cgroups, config, jobs, linux
from slurm_hooks.errors import Refused

LOOK_SECONDS = 0.05  # between two looks at the records for users whom we do not know
STEP = "step_"  # Slurm's name for the cgroup of a step, all releases
BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Asker:
    """A process in an open or closing job, at the moment it was looked at."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]
    job: jobs.Job
    step: str = ""  # a number, batch, extern, interactive
    limits: str = ""  # /proc/<pid>/limits; of who asks for a create alone


class Registry:
    """The records' cgroup paths, read again when a record comes or goes."""

    def __init__(self, run: str = config.RUN) -> None:
        self.run = run
        self.version = 2 if os.path.exists(f"{cgroups.MOUNT}/cgroup.controllers") else 1
        self._whole = False  # could all of them be read?
        self._seen = 0  # mtime of the directory of records when all of them could be read
        self._keys: dict[str, str] = {}  # cgroup path → key, the youngest job of that path
        self._users: frozenset[int] = frozenset()  # with a record here
        self._looked = 0.0  # for users, by the monotonic clock

    def _refresh(self) -> None:
        try:
            now = os.stat(f"{self.run}/jobs").st_mtime_ns
        except FileNotFoundError:
            now = 0
        if now and now == self._seen:
            return
        found = sorted(jobs.everyone(self.run), key=lambda job: job.opened)
        self._keys = {job.cgroup: job.key for job in found}
        self._users = frozenset(job.uid for job in found)
        # A record directory without its `job` yet is being written: look again next time. So too after a change
        # within the last second: the kernel's clock for files is coarse, another change may bear the same time.
        self._whole = len(found) == len(jobs.keys(self.run))
        self._seen = now if self._whole and time.time_ns() - now > 10**9 else 0

    def users(self) -> tuple[frozenset[int], bool]:
        """Who has an unfinished job here; False: there are records that cannot be read (yet)."""
        self._refresh()
        return self._users, self._whole

    def has_jobs(self, uid: int) -> bool:
        """Has the user an unfinished job here? A first guess for the door, at a moment's cost and a moment late."""
        if uid not in self._users and time.monotonic() - self._looked > LOOK_SECONDS:
            self._refresh()
            self._looked = time.monotonic()
        return uid in self._users

    def job_at(self, path: str) -> jobs.Job | None:
        """The unfinished job whose step the cgroup `path` is or lies in; None: of no job, or a container's."""
        head, found, _ = path.partition(f"/{STEP}")
        if not found:
            return None
        self._refresh()
        key = self._keys.get(head)
        job = jobs.load(key, self.run) if key else None
        return None if job is None or job.state == jobs.GONE else job


class Peer:
    """The process at the other end of a connection; holds its pidfd. Close it."""

    def __init__(self, connection: socket.socket) -> None:
        self.pid, self.uid, self.gid, self.pidfd = linux.peer_of(connection)

    def close(self) -> None:
        os.close(self.pidfd)

    def asker(self, registry: Registry) -> Asker:
        """Who it is now. Raises Refused."""
        try:
            lines = linux.cgroup_lines(linux.read(f"/proc/{self.pid}/cgroup"))
            status = linux.status_of(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            raise _gone() from None
        # After the readings, not before: only then were they the peer's and not of a process that got its number.
        if not linux.alive(self.pidfd):
            raise _gone()
        path = cgroups.of(registry.version).identity(lines)
        job = registry.job_at(path)
        if job is None:
            raise Refused(
                "docker", f"this process is in no job that slurm-hooks knows (its cgroup is {path})",
                "Docker is for processes of a Slurm job: sbatch, srun or salloc.",
            )  # fmt: skip
        uids = set(status["Uid"].split())
        if self.uid != job.uid or uids != {str(job.uid)}:
            raise Refused(
                "docker", f"job {job.id} is of uid {job.uid}, and this process is not", "Ask as the job's user."
            )
        groups = tuple(int(group) for group in status["Groups"].split())
        return Asker(self.pid, job.uid, job.gid, groups, job, path.partition(f"/{STEP}")[2].partition("/")[0])

    def limits(self) -> str:
        """Its /proc/<pid>/limits (proc_pid_limits(5)). Raises Refused."""
        try:
            text = linux.read(f"/proc/{self.pid}/limits")
        except (FileNotFoundError, ProcessLookupError):
            raise _gone() from None
        if not linux.alive(self.pidfd):  # after the reading, as above
            raise _gone()
        return text


def _gone() -> Refused:
    return Refused("docker", "the process that opened this connection is gone", "Connect anew.")

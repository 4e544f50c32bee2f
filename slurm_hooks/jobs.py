# SPDX-License-Identifier: Apache-2.0
"""The job and its record in the run directory: OPEN → CLOSING → gone.

    /run/slurm-hooks/jobs/<id>-<restart>-<boot>/
        job                  written by hooks only: the whole truth about the job, one JSON object
        containers/<nonce>   written by the broker only, before dockerd hears of the container
        ops/<name>           written by the broker only: what it did once for the job
        networks/<name>      written by the broker only, before dockerd hears of it: a restricted network of the job's
    /run/slurm-hooks/gone/<id>-<restart>-<boot>
                             the tombstone: `job` with the clean verdict, for a day

The key holds job id, restart count and boot: each run of a requeued job has a
record of its own. Who decides about a job holds flock() on its directory:
the broker shared, from decision to verified start; the Epilog alone.
"""

from __future__ import annotations

import errno
import os
import time

from slurm_hooks import config, linux, quickjson
from slurm_hooks.errors import BadEnvironment, NodeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

OPEN, CLOSING, GONE = "open", "closing", "gone"
CLOCK_SECONDS = 0.5  # more than two readings of two clocks differ by, on a busy node
TOMBSTONE_SECONDS = 86_400  # a verdict is kept for a day
REMOVE_TRIES = 100  # as often as a broker may come in between
MOST_TOMBSTONES = 10_000  # 40 MB of /run: a page is the least that tmpfs has for a file
NEW: dict[str, Any] = {"gpus": list, "with_gpu": dict}  # what a record of an older version lacks


class Job:
    """A job as the Prolog registered it. `cgroup` is relative to the mount point."""

    __slots__ = (
        "id", "restart", "boot", "uid", "gid", "user", "partition", "node", "start", "state", "opened", "uptime",
        "closed", "version", "root", "cgroup", "figure", "pids", "effective", "verdict", "gpus", "with_gpu",
    )  # fmt: skip

    id: int
    restart: int
    boot: str
    uid: int
    gid: int
    user: str
    partition: str
    node: str
    start: int  # of this run, as slurmctld says, seconds since 1970; 0 before Slurm 23.02, which does not
    state: str
    opened: float  # seconds since 1970
    uptime: float  # the same in seconds since the boot: what a step of the wall clock does not move
    closed: float
    version: int  # of the cgroup hierarchy
    root: str  # Slurm's own cgroup above the job's
    cgroup: str
    figure: int  # what the site lets the job's own processes and threads be; 0: no Prolog ran
    pids: int  # pids.max of the job's cgroup: the figure and, on v2, the reserve for Slurm's own threads
    effective: int  # the smallest pids.max from here to the root
    verdict: str  # "" until the Epilog gave one; "clean", or the reason why not
    gpus: list[dict[str, str]]  # that Slurm gave it, each as its device nodes: path → kind and numbers, "c 195:0"
    with_gpu: dict[str, str]  # nodes that the site gives with them

    def __init__(self, **values: Any) -> None:
        if "uptime" not in values:  # of an older version, at an upgrade with jobs running
            values["uptime"] = values["opened"] - (time.time() - linux.uptime())
        for name in self.__slots__:
            setattr(self, name, values[name] if name in values else NEW[name]())

    @property
    def key(self) -> str:
        """The record's directory name."""
        return key(self.id, self.restart, self.boot)

    def to_json(self) -> str:
        return quickjson.dumps({name: getattr(self, name) for name in self.__slots__})


def clock_moved(job: Job) -> bool:
    """Was the wall clock set since the job was opened? Then what bears a time of it is no older or younger for sure."""
    return abs((time.time() - linux.uptime()) - (job.opened - job.uptime)) > CLOCK_SECONDS


def key(job: int, restart: int, boot: str) -> str:
    """The name of a record; 8 characters of the boot id are enough to tell boots apart."""
    return f"{job}-{restart}-{boot[:8]}"


def whole_number(environ: Mapping[str, str], name: str, default: str | None = None) -> int:
    """A number that Slurm put into a hook's environment. Raises BadEnvironment."""
    text = environ.get(name, default)
    if text is None:
        raise BadEnvironment(name, "not set", "Hooks are called by slurmd.")
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadEnvironment(name, f"not a number: {text[:40]!r}")
    return int(text)


def word(environ: Mapping[str, str], name: str, default: str = "") -> str:
    """A name (user, node, partition, SLUID) from a hook's environment: no path, no space. Raises BadEnvironment."""
    text = environ.get(name, default)
    if len(text) > 255 or any(not (c.isalnum() or c in "._@+-$\\") for c in text) or text.startswith("."):
        raise BadEnvironment(name, f"not a name: {text[:40]!r}")
    return text


def from_environment(environ: Mapping[str, str], version: int, root: str, cgroup: str) -> Job:
    """The job that slurmd's environment describes, OPEN, its cgroup as found, no limit noted. Raises BadEnvironment."""
    uid = whole_number(environ, "SLURM_JOB_UID")
    return Job(
        id=whole_number(environ, "SLURM_JOB_ID"),
        restart=whole_number(environ, "SLURM_JOB_RESTART_COUNT", "0"),
        boot=linux.boot_id(),
        uid=uid,
        gid=whole_number(environ, "SLURM_JOB_GID"),
        user=word(environ, "SLURM_JOB_USER", str(uid)),  # a uid without a passwd entry has no name
        partition=word(environ, "SLURM_JOB_PARTITION"),
        node=word(environ, "SLURMD_NODENAME"),
        start=whole_number(environ, "SLURM_JOB_START_TIME", "0"),
        state=OPEN,
        opened=time.time(),
        uptime=linux.uptime(),
        closed=0.0,
        version=version,
        root=root,
        cgroup=cgroup,
        figure=0,
        pids=0,
        effective=0,
        verdict="",
    )


def directory(of_key: str, run: str = config.RUN) -> str:
    """The record's directory."""
    return f"{run}/jobs/{of_key}"


def create(job: Job, run: str = config.RUN) -> None:
    """Open the job's record. Idempotent: a Prolog that runs twice for one start finds its own.

    Raises:
        NodeFault: the run directory cannot be written.
    """
    top = directory(job.key, run)
    try:
        os.makedirs(f"{run}/jobs", 0o755, exist_ok=True)
        os.chmod(f"{run}/jobs", 0o700)  # records are root's to read: they name what a job runs
        for path in (top, f"{top}/containers", f"{top}/ops"):
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
        store(job, run)
    except OSError as error:
        try:
            _remove(top)  # half a record is none
        except OSError:
            pass
        raise NodeFault(top, f"the job's record cannot be written ({error.strerror})") from None


def store(job: Job, run: str = config.RUN) -> None:
    """Write `job` anew, whole. Hooks only. Raises OSError."""
    linux.replace(f"{directory(job.key, run)}/job", job.to_json())


def load(of_key: str, run: str = config.RUN) -> Job | None:
    """The record of that key, or its tombstone; None where there is neither. Raises NodeFault where it is damaged."""
    path = f"{directory(of_key, run)}/job"
    try:
        return Job(**quickjson.loads(linux.read(path)))
    except FileNotFoundError:
        return buried(of_key, run)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NodeFault(path, f"the job's record cannot be read ({error})") from None


def keys(run: str = config.RUN) -> list[str]:
    """The keys of all records of jobs that are not gone."""
    try:
        return sorted(os.listdir(f"{run}/jobs"))
    except FileNotFoundError:
        return []


def everyone(run: str = config.RUN) -> list[Job]:
    """All jobs that are not gone and whose record can be read; a damaged one is the Epilog's to tell about."""
    found = []
    for name in keys(run):
        try:
            job = load(name, run)
        except NodeFault:
            continue
        if job is not None:
            found.append(job)
    return found


def runs(job_id: int, run: str = config.RUN) -> list[str]:
    """The keys of a job's runs that are not gone, in their order."""
    mine = [name for name in keys(run) if name.startswith(f"{job_id}-")]
    return sorted(mine, key=lambda name: int(name.split("-")[1]))


def holds_cgroup(job: Job, run: str = config.RUN) -> bool:
    """Is what lies at the job's cgroup path this run's, and not that of a run which came after it?

    A requeued job has the same path again, but for Slurm from 26.05 on, which calls it by its SLUID; and so may any
    job after a reboot, with which a run is over.
    """
    if job.boot != linux.boot_id():
        return False
    return not any(other is None or other.cgroup == job.cgroup for other in _after(job, run))


def is_followed(job: Job, run: str = config.RUN) -> bool:
    """Has the node booted since, or begun a later run of the job?"""
    return job.boot != linux.boot_id() or any(True for _ in _after(job, run))


def _after(job: Job, run: str) -> Iterator[Job | None]:
    """The open runs of its number that began after it, in this boot; None: one whose record is damaged."""
    for name in runs(job.id, run):
        if name == job.key or not name.endswith(f"-{job.boot[:8]}"):
            continue
        try:
            other = load(name, run)
        except NodeFault:  # its number in the key is all that is known of it
            if int(name.split("-")[1]) > job.restart:
                yield None
            continue
        if other is None or other.state != OPEN:
            continue
        if other.start and job.start and other.start != job.start:
            began_later = other.start > job.start  # by slurmctld's clock, which does not jump with the node's
        else:
            began_later = other.opened > job.opened
        if began_later:
            yield other


def latest(job_id: int, run: str = config.RUN) -> Job | None:
    """The newest record of a job id, for a person who names only that."""
    mine = [job for job in (*everyone(run), *tombstones(run)) if job.id == job_id]
    return max(mine, key=lambda job: (job.opened, job.restart), default=None)


def networks(of_key: str, run: str = config.RUN) -> str:
    """The directory of the notes of a job's own networks; there once it has one."""
    return f"{directory(of_key, run)}/networks"


def had_containers(of_key: str, run: str = config.RUN) -> bool:
    """Did the broker ever begin a container for the job, or a network? Notes of what is left stay till its Epilog."""
    try:
        return bool(os.listdir(f"{directory(of_key, run)}/containers")) or os.path.isdir(networks(of_key, run))
    except FileNotFoundError:
        return False


def bury(job: Job, run: str = config.RUN) -> None:
    """The job is gone: keep its verdict as a tombstone, remove the record. Idempotent. Raises OSError."""
    job.state = GONE
    try:
        os.makedirs(f"{run}/gone", 0o700, exist_ok=True)
        linux.replace(f"{run}/gone/{job.key}", job.to_json())
    except OSError:
        pass  # the run directory is full: what is left of the job matters more than a note of it
    discard(job.key, run)


def discard(of_key: str, run: str = config.RUN) -> None:
    """Remove a record and all notes in it. Raises OSError."""
    _remove(directory(of_key, run))


def _remove(record: str) -> None:
    """Also while the broker still drops a note, or writes one: of a container's end it hears when the job's is near."""
    for tries_left in reversed(range(REMOVE_TRIES)):
        try:
            for path in linux.tree_of(record):
                for name in os.listdir(path):
                    os.unlink(f"{path}/{name}")  # directories below are gone already: tree_of gives the deepest first
                os.rmdir(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or not tries_left:
                raise


def buried(of_key: str, run: str = config.RUN) -> Job | None:
    """The tombstone of that key; None where there is none, or it cannot be read."""
    try:
        return Job(**quickjson.loads(linux.read(f"{run}/gone/{of_key}")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tombstones(run: str = config.RUN) -> list[Job]:
    """The jobs that are gone since less than a day."""
    try:
        names = os.listdir(f"{run}/gone")
    except FileNotFoundError:
        return []
    whole = (name for name in names if not name.endswith(linux.HALF))
    return [job for name in whole if (job := buried(name, run)) is not None]


def sweep(run: str = config.RUN) -> None:
    """Forget tombstones older than a day, the oldest where there are too many, and half ones. Raises OSError.

    By when they were written: a node of a thousand short jobs an hour has too many to read them all.
    """
    found = []
    for name in os.listdir(f"{run}/gone") if os.path.isdir(f"{run}/gone") else ():
        try:
            found.append((os.stat(f"{run}/gone/{name}").st_mtime, name))
        except FileNotFoundError:
            continue  # an Epilog's, which is whole now
    found.sort(reverse=True)
    for number, (written, name) in enumerate(found):
        if number >= MOST_TOMBSTONES or time.time() - written > TOMBSTONE_SECONDS:
            os.unlink(f"{run}/gone/{name}")

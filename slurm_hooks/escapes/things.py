# SPDX-License-Identifier: Apache-2.0
"""What outlives processes and is no process: IPC objects, shared memory, queues, FUSE mounts, what starts later.

All of it bears the user's uid and a time, and nothing bears the job. It is laid at the job's door where it is
newer than the job and the user has no other job here, and never drains by itself: it holds no processor.
"""

from __future__ import annotations

import os
import stat

from slurm_hooks import jobs, linux, presence
from slurm_hooks.errors import one_line
from slurm_hooks.escapes.left import LIKELY, NOTE, Left

SINCE = "newer than the job, and its user has no other job here"
IPC_RMID = 0
CALLS = {"shm": "shmctl", "sem": "semctl", "msg": "msgctl"}
IDS = {"shm": "shmid", "sem": "semid", "msg": "msqid"}


def is_judged(job: jobs.Job) -> bool:
    """A person's, no other job of theirs may be the one whose it is, and its time can be compared with the job's."""
    return presence.is_users(job.uid) and presence.is_sole(job) and not jobs.clock_moved(job)


def ipc(job: jobs.Job) -> list[Left]:
    """System V objects, and names in /dev/shm and /dev/mqueue."""
    if not is_judged(job):
        return []
    found = [
        Left("ipc", f"System V {kind} {row[IDS[kind]]}", f"made by uid {job.uid}, {SINCE}", NOTE)
        for kind in presence.SYSV
        for row in presence.sysv(kind, job.uid, job.opened)
    ]
    for directory in (presence.SHM, presence.MQUEUE):
        for path in presence.owned(directory, job.uid, job.opened):
            found.append(Left("ipc", one_line(path), f"of uid {job.uid}, {SINCE}", NOTE))
    return found


def remove_ipc(job: jobs.Job) -> list[Left]:
    """Remove what `ipc` names; what went. A segment that a process still has lives until it lets go (shmctl(2)).

    Directories in /dev/shm stay: nothing of ours walks a tree that a user may still change.
    """
    before = ipc(job)
    if not before:
        return []
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for kind in presence.SYSV:
        for row in presence.sysv(kind, job.uid, job.opened):
            call = getattr(libc, CALLS[kind])
            call(row[IDS[kind]], *([0] if kind == "sem" else []), IPC_RMID, None)
    for directory in (presence.SHM, presence.MQUEUE):
        for path in presence.owned(directory, job.uid, job.opened):
            try:
                facts = os.lstat(path)
                if facts.st_uid == job.uid and not stat.S_ISDIR(facts.st_mode):
                    os.unlink(path)
            except OSError:
                pass  # the fresh look will tell
    after = {one.what for one in ipc(job)}
    return [one for one in before if one.what not in after]


def fuse(job: jobs.Job) -> list[Left]:
    """FUSE mounts that the user made in the node's own mount namespace (fusermount is setuid root)."""
    if not is_judged(job):
        return []
    minors = {os.path.basename(path) for path in presence.owned(presence.FUSE, job.uid, job.opened)}
    return [
        Left("fuse", one_line(f"{mount.kind} on {mount.point}"), f"its connection is of uid {job.uid}, {SINCE}", LIKELY)
        for mount in (linux.mounts_of(1) if minors else [])
        # The connection's name is the number of the file system's anonymous device (fs/fuse/control.c).
        if mount.kind.startswith("fuse") and _minor(mount.device) in minors
    ]


def _minor(device: str) -> str:
    major, minor = map(int, device.split(":"))
    # As the kernel keeps a dev_t: MKDEV(major, minor), 20 bits of minor (linux/kdev_t.h).
    return str(major << 20 | minor)


def later(job: jobs.Job) -> list[Left]:
    """What starts something once the job is over: a crontab, a job of at, a manager that lingers."""
    if not is_judged(job):
        return []
    paths = [*presence.named_after(job.user, job.opened)]
    for directory in presence.AT:
        paths += presence.owned(directory, job.uid, job.opened)
    return [Left("timer", one_line(path), f"{SINCE}", NOTE) for path in paths]

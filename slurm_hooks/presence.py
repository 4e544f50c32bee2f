# SPDX-License-Identifier: Apache-2.0
"""Is anything of a user on the node, beside Slurm's cgroups? Cheap enough for the Epilog of every job.

The standard library alone, and nothing that grows with the processes of others
where the user has none. What is found here is only present: whose it is, is
judged by `escapes`.
"""

from __future__ import annotations

import os

from slurm_hooks import cgroups, jobs, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 256  # processes that cost as much to look at as the two forks of has_processes: 1 ms
DEARER = 10  # to read a process' status twice, beside asking who owns it
TICKS = os.sysconf("SC_CLK_TCK")
# Where a user's things lie as names that outlive processes, each owned by its user. The directory of a FUSE
# connection is the user's who mounted it (fs/fuse/control.c), and is asked instead of the mount, which may hang.
SHM, MQUEUE, FUSE = "/dev/shm", "/dev/mqueue", "/sys/fs/fuse/connections"
AT = ("/var/spool/cron/atjobs", "/var/spool/at")  # Debian's and Red Hat's
CRON = ("/var/spool/cron/crontabs", "/var/spool/cron")
LINGER = "/var/lib/systemd/linger"  # root's, named after users
SYSV = ("shm", "sem", "msg")


def is_users(uid: int) -> bool:
    """Is it a person's uid, by login.defs(5)? What runs as a system's uid is the node's own, whoever had a job."""
    try:
        text = linux.read("/etc/login.defs")
    except OSError:
        text = ""
    lowest = [line.split()[1] for line in text.splitlines() if line.startswith("UID_MIN") and len(line.split()) > 1]
    return 65534 != uid >= (int(lowest[-1]) if lowest and lowest[-1].isdigit() else 1000)


def is_sole(job: jobs.Job) -> bool:
    """Has the user no other job on the node?"""
    return not any(other.uid == job.uid and other.key != job.key for other in jobs.everyone())


def anything(job: jobs.Job) -> bool:
    """Has the job's user a process outside of Slurm's cgroups, or a thing newer than the job that outlives one?"""
    if not is_users(job.uid) or job.boot != linux.boot_id():  # what outlives a boot is not the job's any more
        return False
    if next(strays(job), None) is not None:
        return True
    return any(owned(place, job.uid, job.opened) for place in (SHM, MQUEUE, FUSE, *AT)) or bool(
        named_after(job.user, job.opened) or any(sysv(kind, job.uid, job.opened) for kind in SYSV)
    )


def is_crowded() -> bool:
    """Has the node many processes? Their number is in the link count of /proc (fs/proc/root.c)."""
    return os.stat("/proc").st_nlink > MANY


def has_strangers(job: jobs.Job) -> bool:
    """Has the job's user a process beside those in the user's other jobs? Grows with those alone.

    The answer is yes, and /proc is read, where the other jobs' processes were not the same ones before the kernel was
    asked and after it: one that ended meanwhile would have made room for a stray. And where reading /proc is cheaper.
    """
    before = tasks_elsewhere(job)
    if before is None or has_processes(job.uid, sum(before.values())):
        return True
    return bool(before) and before != tasks_elsewhere(job)


def tasks_elsewhere(job: jobs.Job) -> dict[int, int] | None:
    """The user's processes (by real uid) in other jobs' cgroups, and the tasks of each; None: too many to look at."""
    hierarchy = cgroups.of(job.version)
    others = {other.cgroup for other in jobs.everyone() if other.uid == job.uid and other.cgroup != job.cgroup}
    pids = [pid for cgroup in others for pid in hierarchy.processes(cgroup)]
    if len(pids) * DEARER > os.stat("/proc").st_nlink:
        return None
    found = {}
    for pid in pids:
        try:
            status = linux.status_of(pid)
        except OSError:
            continue  # gone
        if status["Uid"].split()[0] == str(job.uid):
            found[pid] = int(status["Threads"])
    return found


def has_processes(uid: int, known: int = 0) -> bool:
    """Has a real uid more than `known` tasks, anywhere on the node? In one question to the kernel, which keeps count.

    A child becomes the user and may have two tasks more: itself and another. fork(2) tells whether others were
    there before (getrlimit(2), RLIMIT_NPROC; the kernel counts what runs in the user's own user namespaces too).
    Where that cannot be asked the answer is yes, and /proc is read.
    """
    import resource

    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_NPROC, (known + 2, known + 2))
            os.setresuid(uid, uid, uid)  # no capability is left, which would lift the limit
            second = os.fork()
            if second:
                os.waitpid(second, 0)
            os._exit(0)
        except BaseException:  # EAGAIN: there are others; and nothing of the hook may run on in here
            os._exit(1)
    # Whoever may stop or kill the child is a process of the user's.
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(child, 9)
        os.waitpid(child, 0)
    return status != 0


def pids_of(uid: int) -> list[int]:
    """Every process whose effective uid it is: the owner of /proc/<pid>, dumpable or not (proc_pid(5))."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    found.append(int(name))
            except OSError:
                pass
    return found


def strays(job: jobs.Job) -> Iterator[int]:
    """The user's processes in no cgroup of Slurm's and of no job that is registered."""
    if is_crowded() and not has_strangers(job):
        return
    own = [job.cgroup, job.root, *(other.cgroup for other in jobs.everyone())]
    inside = tuple(f"{path}/" for path in own if path)
    hierarchy = cgroups.of(job.version)
    for pid in pids_of(job.uid):
        try:
            path = hierarchy.identity(linux.cgroup_lines(linux.read(f"/proc/{pid}/cgroup")))
        except OSError:
            continue  # gone
        if not f"{path}/".startswith(inside):
            yield pid


def began(stat: str) -> float:
    """When a process began, in seconds since the boot (to a clock tick), by its /proc/<pid>/stat.

    The name in it may hold anything; the last `)` ends it.
    """
    return int(stat.rpartition(")")[2].split()[19]) / TICKS


def owned(directory: str, uid: int, since: float) -> list[str]:
    """Paths of what a user has directly in a directory, changed (ctime) no earlier than `since`."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone meanwhile; the next one may be the user's
                if facts.st_uid == uid and facts.st_ctime >= since:
                    found.append(entry.path)
    except OSError:
        pass  # not there, or going
    return sorted(found)


def named_after(user: str, since: float) -> list[str]:
    """The user's crontab and lingering mark, where they are newer than `since`."""
    found = []
    for directory in (*CRON, LINGER):
        try:
            if os.stat(f"{directory}/{user}", follow_symlinks=False).st_ctime >= since:
                found.append(f"{directory}/{user}")
        except OSError:
            pass
    return found


def sysv(kind: str, uid: int, since: float) -> list[dict[str, int]]:
    """System V objects that a user made since then: rows of /proc/sysvipc/<kind> (proc_sysvipc(5))."""
    try:
        head, *rows = linux.read(f"/proc/sysvipc/{kind}").splitlines()
    except (OSError, ValueError):
        return []
    names = head.split()
    found = (dict(zip(names, map(int, row.split()), strict=False)) for row in rows)
    return [row for row in found if row["cuid"] == uid and row["ctime"] >= int(since)]

# SPDX-License-Identifier: Apache-2.0
"""Processes of the job's user outside of every Slurm cgroup: the job's, or somebody else's doing?

A process gets out through those who may move it or start another for it: a
setuid or root helper, the user's systemd manager, cron, at, sshd. The kernel's
word counts: uid, start, cgroup, loginuid, which a process of the user cannot
change (loginuid: set once by a PAM login, and kept). SLURM_JOB_ID in environ is
written by the user, who can accuse only themselves by it; it decides nothing alone.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from slurm_hooks import jobs, linux, presence
from slurm_hooks.errors import one_line
from slurm_hooks.escapes.left import LIKELY, SURE, Left

UNSET = 4294967295  # loginuid of what no login began: a daemon's descendant, as a job's processes are
END_SECONDS = 5.0
SCHEDULERS = ("cron", "crond", "atd", "anacron")
LOGINS = ("ssh", "sshd")  # a node without pam_systemd has no session for them


@dataclass(frozen=True)
class Stray:
    """What the kernel says of a process, and what it says of itself."""

    pid: int
    name: str
    state: str  # one letter, proc_pid_stat(5)
    start: float  # seconds since the boot
    uid: int
    place: str  # its cgroup of systemd's: v2, or v1's name=systemd
    loginuid: int | None  # None: a kernel without audit
    job: str  # SLURM_JOB_ID of its environment


@dataclass(frozen=True)
class World:
    """What the judgement needs to know of the node beside the process."""

    sole: bool  # the user has no other job here
    systemd: bool
    manager: Stray | None  # the user's systemd manager
    session: bool  # a login session of the user has processes
    lingers: bool  # the manager may live without a session


def judged(stray: Stray, job: jobs.Job, world: World) -> tuple[str, str]:
    """(weight, evidence) where the process is the job's for sure or likely; ("", why not) where it is not. Pure."""
    if stray.uid != job.uid or stray.start < job.uptime:
        return "", "not the user's, or older than the job"
    if stray.loginuid not in (None, UNSET, job.uid):
        return "", f"begun in a login of uid {stray.loginuid}"
    names = stray.job == str(job.id)
    if not world.sole:
        return (
            (LIKELY, "its SLURM_JOB_ID, and the user has other jobs here") if names else ("", "another job's, perhaps")
        )
    since = f"uid {job.uid}, begun in the job's time, no other job of the user here"
    slice_ = f"/user.slice/user-{job.uid}.slice/"
    if stray.place.startswith(slice_):
        if not stray.place.startswith(f"{slice_}user@{job.uid}.service/"):
            return LIKELY, f"{since}; in a login session, {stray.place}"
        manager = world.manager
        if names and stray.loginuid == UNSET and manager is not None and manager.loginuid == job.uid:
            # A child of the manager has the manager's loginuid. What has none came from a daemon's descendant.
            return SURE, f"{since}; moved by the user's systemd manager to {stray.place}; its SLURM_JOB_ID"
        if manager is not None and manager.start >= job.uptime and not world.session and not world.lingers:
            return SURE, f"{since}; of a systemd manager that the job's time began and no session needs"
        return LIKELY, f"{since}; of the user's systemd manager, {stray.place}"
    if world.systemd and stray.place == "/":
        # systemd has a unit for whatever it starts; only who is root moves a process out of all of them.
        return SURE, f"{since}; moved out of every unit of systemd"
    parts = stray.place.split("/")
    if any(part.removesuffix(".service") in SCHEDULERS for part in parts):
        return LIKELY, f"{since}; started by {stray.place}"
    if stray.loginuid == job.uid and any(part.partition("@")[0].removesuffix(".service") in LOGINS for part in parts):
        return LIKELY, f"{since}; in a login, of {stray.place}"
    if names and not _is_of_a_unit(stray.place):
        return (SURE if world.systemd else LIKELY), f"{since}; moved to {stray.place}; its SLURM_JOB_ID"
    if names:
        return LIKELY, f"{since}; its SLURM_JOB_ID; in {stray.place}"
    return "", f"of {stray.place}"


def _is_of_a_unit(place: str) -> bool:
    return any(part.endswith((".service", ".scope", ".slice")) for part in place.split("/"))


def look(job: jobs.Job) -> list[tuple[Stray, str, str]]:
    """Strays of the job with (weight, evidence). What only its user shares with the job is not among them."""
    if not presence.is_users(job.uid):
        return []
    found = [stray for pid in presence.strays(job) if (stray := seen(pid)) is not None]
    if not found:
        return []
    world = world_of(job, found)
    verdicts = ((stray, *judged(stray, job, world)) for stray in found)
    return [(stray, weight, why) for stray, weight, why in verdicts if weight]


def seen(pid: int) -> Stray | None:
    """A process as it is now; None where it is gone or a zombie, which holds nothing."""
    try:
        stat = linux.read(f"/proc/{pid}/stat")
        lines = linux.cgroup_lines(linux.read(f"/proc/{pid}/cgroup"))
        uid = os.stat(f"/proc/{pid}").st_uid
        environ = linux.read(f"/proc/{pid}/environ")
    except OSError:
        return None
    try:
        loginuid: int | None = int(linux.read(f"/proc/{pid}/loginuid"))
    except (OSError, ValueError):
        loginuid = None
    state = stat.rpartition(")")[2].split()[0]
    if state in "ZX":
        return None
    name = stat.partition("(")[2].rpartition(")")[0]
    said = next((pair[13:] for pair in environ.split("\0") if pair.startswith("SLURM_JOB_ID=")), "")
    # On v1 systemd keeps its units in a hierarchy of its own.
    place = lines.get("name=systemd") or lines.get("", "")
    return Stray(pid, name, state, presence.began(stat), uid, place, loginuid, said)


def world_of(job: jobs.Job, strays: list[Stray]) -> World:
    """What of the node the judgement needs."""
    slice_ = f"/user.slice/user-{job.uid}.slice/"
    manager = next((one for one in strays if one.place == f"{slice_}user@{job.uid}.service/init.scope"
                    and one.name == "systemd"), None)  # fmt: skip
    return World(
        sole=presence.is_sole(job),
        systemd=os.path.isdir("/run/systemd/system"),
        manager=manager,
        session=any(one.place.startswith(f"{slice_}session-") for one in strays),
        lingers=os.path.exists(f"{presence.LINGER}/{job.user}"),
    )


def strays(job: jobs.Job) -> list[Left]:
    """The job's processes outside of its cgroup, and those that likely are."""
    return [Left("escape", described(stray), why, weight) for stray, weight, why in look(job)]


def described(stray: Stray) -> str:
    """`pid 4242 sleep, state S outside of the job, in /user.slice/…`."""
    return one_line(f"pid {stray.pid} {stray.name}, state {stray.state} outside of the job, in {stray.place}")


def end(job: jobs.Job) -> list[Left]:
    """SIGKILL to what is the job's for sure, until none is left or the time is over; what was ended.

    Each is judged again while its pidfd is open. A process that forks faster than we list is outrun as long as
    it dies with its children younger than our next look.
    """
    ended: dict[int, Left] = {}
    deadline = time.monotonic() + END_SECONDS
    while sure := [(stray, why) for stray, weight, why in look(job) if weight == SURE]:
        for stray, why in sure:
            ended[stray.pid] = Left("escape", described(stray), why)
            linux.kill_where(stray.pid, lambda stray=stray: _is_same(stray))  # type: ignore[misc]
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return list(ended.values())


def _is_same(stray: Stray) -> bool:
    now = seen(stray.pid)
    mine = (stray.start, stray.uid, stray.place, stray.loginuid)
    return now is not None and (now.start, now.uid, now.place, now.loginuid) == mine

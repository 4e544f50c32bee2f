# SPDX-License-Identifier: Apache-2.0
"""Slurm's Epilog, as root, after the job's last process: close the job, tear down, look again, give the verdict.

0: nothing of the job is left. 1: something could not be ended; the node drains,
and the reason names it. Our own bug on a clean node is logged and is a 0.
"""

from __future__ import annotations

import os
import sys
import time

from slurm_hooks import cgroups, config, events, jobs, linux, presence, quickjson
from slurm_hooks.cgroups import slurm
from slurm_hooks.errors import HooksError, NodeFault, unforeseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BROKER_SECONDS = 5.0  # how long a create that is under way may hold the job open
EPILOG_SECONDS = 100.0  # how long an Epilog of the same job, already at work, is waited for
SLURM_SECONDS = 3.0  # slurmstepd removes its cgroups after it stopped answering: a short race with us


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run as Slurm runs it; `environ` is what slurmd hands over. The hook's exit status."""
    try:
        return max(map(finish, ended(environ)), default=0)
    except HooksError as error:  # what Slurm handed over, or the node, is not as it must be: no job is known
        events.record("epilog-failed", why=str(error))
        print(f"slurm-hooks: {error}", file=sys.stderr)
        return 0


def ended(environ: Mapping[str, str]) -> list[jobs.Job]:
    """The runs of the job that are over: those of its records that are not of a later run than this Epilog's.

    The restart count alone does not tell: slurmctld counts a requeue before it ends the run, so the Epilog of run 0
    is told 1 (seen on 24.11). And where Slurm runs an Epilog twice, the second may come when the job runs again at
    the same cgroup path: that run, which starts later, is not touched. Raises HooksError.
    """
    number = jobs.whole_number(environ, "SLURM_JOB_ID")
    if (uid := os.geteuid()) != 0:
        # Slurm 24.11 to 25.11 with RunInJob, now and then (needs.MIXED_UP). As the user nothing can be seen or ended,
        # and the node may well be clean: it must not drain. The sweep is root, and does what is done here.
        why = f"Slurm runs the Epilog of job {number} as uid {uid}, not as root"
        raise NodeFault("RunInJob", why, "The job is ended by slurm-hooks sweep; see docs/compatibility.md.")
    restart = jobs.whole_number(environ, "SLURM_JOB_RESTART_COUNT", "0")
    start = jobs.whole_number(environ, "SLURM_JOB_START_TIME", "0")
    records = {name: recorded(name) for name in jobs.runs(number)}
    gone = [jobs.buried(jobs.key(number, before, linux.boot_id())) for before in (restart, restart - 1)]
    # A damaged record tells no start; but where that of another run is the one that we are told, we are that one's.
    told = [job.restart for job in (*records.values(), *gone) if job and job.start == start != 0]
    if records:
        known = [job or described(environ, name) for name, job in records.items()]
        last = min(restart, *told) if told else restart
        return [job for job in known if job.restart <= last and (not start or job.start <= start)]
    if told:
        print(f"slurm-hooks: job {number}: its Epilog was through before")
        return []
    return [described(environ)]  # no Prolog ran


def described(environ: Mapping[str, str], key: str = "") -> jobs.Job:
    """A job by what slurmd says of it; its run by the key of a record that is damaged. Raises HooksError."""
    place = slurm.place_of(environ)
    job = jobs.from_environment(environ, place.version, place.root, place.path)
    if key:
        job.restart = int(key.split("-")[1])
    return job


def finish(job: jobs.Job) -> int:
    """Close a job, end what it left and judge; the exit status. Raises nothing."""
    verdict, seconds = settled(job)
    if verdict == "clean":
        print(f"slurm-hooks: job {job.id}: nothing left, {seconds:.3f} s")
        return 0
    drain(job, verdict)
    print(verdict, file=sys.stderr)
    return 1


def settled(job: jobs.Job, *, late: bool = False) -> tuple[str, float]:
    """Close a job, end what it left and judge: ("clean" or the drain reason, seconds). Raises nothing.

    `late`: nobody has seen its end (sweep.py).
    """
    began = time.monotonic()
    try:
        verdict, peaks = closed(job, late=late)
    except Exception as error:  # our own bug: it must not drain a clean node, nor hide an unclean one
        why = unforeseen(error)
        events.record("epilog-bug", job=job.id, restart=job.restart, why=why)
        pids = cgroups.of(job.version).processes(job.cgroup) if jobs.holds_cgroup(job) else []
        verdict, peaks = (f"slurm-hooks: job {job.id} left pids {pids[:5]}; bug: {why}" if pids else "clean"), {}
    seconds = round(time.monotonic() - began, 3)
    events.record("epilog", job=job.id, restart=job.restart, verdict=verdict, seconds=seconds, peaks=peaks)
    return verdict, seconds


def closed(job: jobs.Job, *, late: bool = False) -> tuple[str, dict[str, int]]:
    """CLOSING, teardown, verdict, tombstone; ("clean" or the drain reason, the job's peaks)."""
    asked = time.time()
    if not os.path.isdir(jobs.directory(job.key)):  # no Prolog ran, or an Epilog before us was through
        return torn_down(job, late=late), {}
    try:
        lock = hold(job)
    except FileNotFoundError:
        return "clean", {}  # buried this moment by an Epilog before us: Slurm up to 25.11 may run it twice
    with lock:
        now = recorded(job.key) or job
        if now.state == jobs.GONE:
            written(now)  # whoever buried it was killed before the record was removed
            return "clean", {}
        if now.closed > asked:  # an Epilog beside us, for which we have waited, has done it all
            return now.verdict, {}
        now.state = jobs.CLOSING
        written(now)
        peaks = peaks_of(now)
        now.verdict = torn_down(now, late=late)
        if not lock.held:
            now.verdict = _after_the_start(now, late=late)
        now.closed = time.time()
        written(now)
        return now.verdict, peaks


def _after_the_start(job: jobs.Job, *, late: bool) -> str:
    """The verdict where a container was starting all the while: it may have come after our teardown, so once more."""
    with linux.Locked(jobs.directory(job.key), within=BROKER_SECONDS) as lock:
        if lock.held:
            return torn_down(job, late=late)
    return f"slurm-hooks: job {job.id} ({job.user}): a container start hangs; run slurm-hooks epilog {job.id}"


def written(job: jobs.Job) -> None:
    """The job's record, or its tombstone. A run directory that is full must not keep us from the teardown."""
    try:
        if job.verdict == "clean":
            jobs.bury(job)
        else:
            jobs.store(job)
    except OSError as error:
        events.record("record-fault", job=job.id, restart=job.restart, why=str(error))


def recorded(key: str) -> jobs.Job | None:
    """A job as its record has it now; None where that is gone, or damaged."""
    try:
        return jobs.load(key)
    except NodeFault as error:
        events.record("record-damaged", why=str(error))
        return None


def hold(job: jobs.Job) -> linux.Locked:
    """The job for ourselves. Not held past the deadline: dockerd hangs in a create; the job is closed all the same."""
    lock = linux.Locked(jobs.directory(job.key), within=BROKER_SECONDS)
    if not lock.held and (recorded(job.key) or job).state == jobs.CLOSING:
        lock.release()
        lock = linux.Locked(jobs.directory(job.key), within=EPILOG_SECONDS)
    return lock


def torn_down(job: jobs.Job, *, late: bool = False) -> str:
    """The cheap way for a job without containers, the whole way otherwise; "clean" or the reason."""
    bare = not jobs.had_containers(job.key) and is_gone(job)
    if bare and not presence.anything(job):
        return "clean"
    from slurm_hooks import teardown

    if bare:
        return teardown.beside(job, late=late)
    settings = config.for_epilog()
    grace = settings.get("container", {}).get("grace_seconds", 0)
    return teardown.verdict(job, config.docker_socket(settings), grace=grace, late=late)[0]


def is_gone(job: jobs.Job) -> bool:
    """Is the cgroup of a job without containers gone, or empty and then removed by us?"""
    if not jobs.holds_cgroup(job):
        return True  # a later run's, which may be empty yet
    cgroup = cgroups.of(job.version)
    own = cgroup.identity(linux.cgroup_lines(linux.read("/proc/self/cgroup")))
    if own.startswith(f"{job.cgroup}/"):
        return True  # PrologFlags=RunInJob: Slurm runs us in there, and removes it after us
    deadline = time.monotonic() + SLURM_SECONDS
    while cgroup.exists(job.cgroup):
        if not cgroup.remove(job.root, job.cgroup):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def peaks_of(job: jobs.Job) -> dict[str, int]:
    """High-water marks of the job: the kernel's now, or the broker's note from when a container ended."""
    peaks = cgroups.of(job.version).peaks(job.cgroup) if jobs.holds_cgroup(job) else {}
    try:
        noted = quickjson.loads(linux.read(f"{jobs.directory(job.key)}/ops/peaks"))
    except (OSError, ValueError):
        return peaks
    return {name: max(peaks.get(name, 0), int(noted.get(name, 0))) for name in {*peaks, *noted}}


def drain(job: jobs.Job, why: str) -> None:
    """Drain the node with our reason, before our exit status has slurmd drain it with "Epilog error"."""
    from slurm_hooks import controller

    try:
        controller.connect().drain(job.node, why)
    except HooksError as error:
        events.record("drain-failed", job=job.id, restart=job.restart, why=str(error))
    else:
        events.record("drain", job=job.id, restart=job.restart, node=job.node, why=why)

# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks sweep`: end what jobs that are over have left where no Epilog has. Its timer runs it, also after a boot.

slurmd was dead while a job ended and Slurm has forgotten it since; an Epilog was killed; the node rebooted, and dockerd
kept the containers. A run is over only where everything says so:

    record      older than five minutes, and no Epilog is at work on it
    kernel      no slurmstepd in the job's cgroup, unless the run is of another boot
    slurmctld   does not have the job on this node; or has a later run of it, whose record is open

What cannot be asked says nothing: where slurmctld does not answer, nothing is touched. A run that is over is ended
by the Epilog's own code, under the same lock. Containers that no record owns get one first, from their labels.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from slurm_hooks import bridges, cgroups, config, controller, engine, epilog, escapes, events, jobs, linux, teardown
from slurm_hooks.broker import notes
from slurm_hooks.errors import HooksError, NodeFault, one_line

UNKNOWN = "?"  # the user of a run that a person has to look at
KEY = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9a-f]{8})")
# Where Slurm has its jobs: below its scope (v2), or below uid_ in each hierarchy (v1). See cgroups/slurm.py.
JOBS_CGROUP = re.compile(r"((?:/[^/]+)*/[^/]*slurmstepd\.scope)/(?!system$)[^/]+|(/slurm[^/]*)/uid_[0-9]+/job_[0-9]+")


@dataclass(frozen=True)
class Found:
    """A run that no Epilog has ended, and what the sweep makes of it."""

    key: str
    job: int
    user: str
    action: str  # kept; over (--dry-run); swept
    why: str
    verdict: str = ""  # of what was swept
    plan: tuple[str, ...] = ()  # for what is over

    def __str__(self) -> str:
        said = f": {self.verdict}" if self.verdict else ""
        lines = [f"job {self.job} ({self.user}), {self.key}: {self.action}, {self.why}{said}", *self.plan]
        return "\n  ".join(map(one_line, lines))


def main(*, older_than: float, dry_run: bool, as_json: bool) -> int:
    """Sweep, and print; 1 where something is left or nobody could be asked. Raises HooksError.

    Args:
        older_than: seconds; a younger record is left alone.
    """
    if os.geteuid() != 0:
        raise HooksError("sweep", "it needs root", "Its timer runs it: slurm-hooks-sweep.timer.")
    found: list[Found] = []
    fault = ""
    try:
        for one in sweep(older_than, dry_run=dry_run):
            found.append(one)
            if not as_json and (dry_run or one.action != "kept" or one.user == UNKNOWN):
                print(one)
    except NodeFault as error:
        fault = str(error)
    swept = [one for one in found if one.action == "swept"]
    left = [one for one in swept if one.verdict != "clean"]
    if swept or (fault and not dry_run):
        events.record("swept", jobs=len(swept), left=len(left), why=fault)
    if as_json:
        print(json.dumps({"fault": fault, "runs": [asdict(one) for one in found]}, indent=2))
    elif fault:
        print(f"slurm-hooks sweep: nothing more is touched: {fault}")
    elif not dry_run:
        kept = sum(one.action == "kept" for one in found)
        print(f"slurm-hooks sweep: {len(swept)} ended, {len(left)} not clean, {kept} left alone")
    return int(bool(left or fault))


def sweep(older_than: float, *, dry_run: bool = False) -> Iterator[Found]:
    """Each run that has a record or a container here, oldest first. Raises NodeFault where Slurm cannot be asked."""
    slurm = controller.connect()
    yield from unreadable(older_than, dry_run=dry_run)
    for job in sorted(jobs.everyone(), key=lambda job: job.opened):
        why = may_live(job, older_than) or slurm_has(job, slurm)
        yield _kept(job, why) if why else _over(job, dry_run=dry_run)
    yield from lost_networks(dry_run=dry_run)
    for key, containers in orphans().items():
        try:
            job = described(key, containers)
        except ValueError as error:
            yield _unknown(key, f"of {len(containers)} containers: {error}")
            continue
        why = "younger" if time.time() - max(c["Created"] for c in containers) < older_than else ""
        why = why or stepd_of(job)
        if not why and slurm.is_alive(job.id):
            why = "slurmctld has the job, and no record tells its runs apart"
        if why:
            yield _kept(job, why)
            continue
        if not dry_run:
            adopt(job, containers)
        yield _over(job, dry_run=dry_run, of=f"{len(containers)} containers without a record, ")


def unreadable(older_than: float, *, dry_run: bool) -> Iterator[Found]:
    """Records that tell of no run: one that is damaged is a person's to look at, half a one is removed.

    Half a record is what a Prolog leaves that is killed before it has written `job`: no container begins in it.
    """
    recorded = jobs.keys()
    for key in recorded:
        try:
            if jobs.load(key) is None and time.time() - os.stat(jobs.directory(key)).st_mtime >= older_than:
                if not dry_run:
                    jobs.discard(key)
                yield _unknown(key, "half a record", "over" if dry_run else "swept")
        except FileNotFoundError:
            continue  # its Epilog is through
        except NodeFault as error:
            yield _unknown(key, str(error))


def lost_networks(*, dry_run: bool) -> Iterator[Found]:
    """Networks of jobs that have no record any more: of before a reboot, or of an Epilog that dockerd did not answer.

    A network is made in a job that is open, so without a record its job is over. One that a container is in stays,
    until the container is swept.
    """
    try:
        dockerd = _engine()
        there = dockerd.networks()
    except NodeFault:
        return  # told with the containers
    bridges_there = bridges.every()
    known = set(jobs.keys())  # last: a job that begins meanwhile has its record before its network
    for network in there:
        key = str((network.get("Labels") or {}).get(engine.LABEL_JOB, ""))
        if key not in known and KEY.fullmatch(key):
            problem = "" if dry_run else dockerd.remove_network(str(network["Id"]))
            yield _lost(key, "a network without a record", problem, dry_run=dry_run)
    bridged = bridges.of_networks(there)
    numbers = {int(key.partition("-")[0]) for key in known if KEY.fullmatch(key)}
    for name, job in bridges_there.items():
        if name not in bridged and job not in numbers:
            problem = "" if dry_run else _removed(name)
            yield _lost(f"{job}-?", f"the bridge {name}, of which dockerd knows nothing", problem, dry_run=dry_run)


def _removed(bridge: str) -> str:
    try:
        bridges.remove(bridge)
    except OSError as error:
        return str(error)
    return ""


def _lost(key: str, what: str, problem: str, *, dry_run: bool) -> Found:
    why = f"{what} ({problem})" if problem else what
    return _unknown(key, why, "over" if dry_run else "kept" if problem else "swept")


def _unknown(key: str, why: str, action: str = "kept") -> Found:
    named = KEY.fullmatch(key)
    return Found(key, int(named[1]) if named else 0, UNKNOWN, action, why, "clean" if action == "swept" else "")


def _kept(job: jobs.Job, why: str) -> Found:
    return Found(job.key, job.id, job.user, "kept", why)


def _over(job: jobs.Job, *, dry_run: bool, of: str = "") -> Found:
    why = of + ("of another boot" if job.boot != linux.boot_id() else "no slurmstepd, and not slurmctld's any more")
    if dry_run:
        return Found(job.key, job.id, job.user, "over", why, plan=tuple(map(str, teardown.plan(job))))
    events.record("sweep", job=job.id, restart=job.restart, why=why)
    before = job.verdict
    verdict, _ = epilog.settled(job, late=True)
    # What was found before has drained the node before; an operator may have resumed it since.
    if verdict not in ("clean", before) and escapes.choices()["sweep"] == "drain":
        epilog.drain(job, verdict)
    return Found(job.key, job.id, job.user, "swept", why, verdict)


# -- is it over? -----------------------------------------------------------------------------------


def may_live(job: jobs.Job, older_than: float) -> str:
    """What this node says for a run; "" where nothing does."""
    if time.time() - max(job.opened, job.closed) < older_than:
        return "younger"
    if why := stepd_of(job):
        return why
    if job.state == jobs.CLOSING:
        try:
            with linux.Locked(jobs.directory(job.key)) as lock:
                return "" if lock.held else "an Epilog is at work"
        except FileNotFoundError:
            return "an Epilog has just ended it"
    return ""


def stepd_of(job: jobs.Job) -> str:
    """That a slurmstepd is in the job's cgroup; "": none is, or the cgroup is a later run's.

    A user's process may have that name, too; it is not root's.
    """
    if not jobs.holds_cgroup(job):
        return ""
    for pid in cgroups.of(job.version).processes(job.cgroup):
        try:
            if linux.read(f"/proc/{pid}/comm") == "slurmstepd\n" and os.stat(f"/proc/{pid}").st_uid == 0:
                return f"slurmstepd is there, pid {pid}"
        except OSError:
            continue  # gone
    return ""


def slurm_has(job: jobs.Job, slurm: controller.Controller) -> str:
    """What slurmctld says for a run; "" where it has it no more. Raises NodeFault where it does not answer."""
    # Asked for each, and not once for all: one teardown may take a minute.
    here = slurm.on_node(job.node).get(job.id)
    if here is None:
        return ""
    # A requeue is counted before the run has ended.
    is_later = here.restart > job.restart and here.state != "COMPLETING"
    # Its processes are told from the later run's by the record of that one alone.
    if is_later and jobs.is_followed(job):
        return ""
    return f"slurmctld has it here, {here.state}"


# -- containers that no record owns ----------------------------------------------------------------


def orphans() -> dict[str, list[dict[str, Any]]]:
    """The jobs' containers in dockerd whose key has no record, by key; none where dockerd does not answer."""
    known = set(jobs.keys())
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for container in _engine().labelled():
            key = container["Labels"][engine.LABEL_JOB]
            if key not in known and KEY.fullmatch(key):
                found.setdefault(key, []).append(container)
    except NodeFault as error:
        events.record("sweep-fault", why=str(error))
    return found


def _engine() -> engine.Engine:
    return engine.Engine(config.docker_socket(config.for_epilog()))


def described(key: str, containers: list[dict[str, Any]]) -> jobs.Job:
    """The run that a container's labels and configuration tell of. Raises ValueError where they do not fit together.

    What is ended is ended by cgroup, so the cgroup must be one where Slurm has its jobs, whoever wrote the label.
    """
    number, restart, boot = key.split("-")
    found = _engine().inspect(containers[0]["Id"])
    path = str(found["HostConfig"].get("CgroupParent", ""))
    place = JOBS_CGROUP.fullmatch(path)
    name = path.rpartition("/")[2]
    if place is None or ".." in path or (name.startswith("job_") and name != f"job_{number}"):
        raise ValueError(f"their parent {path or '(none)'} is no cgroup of a job")
    uid, _, gid = str(found["Config"].get("User", "")).partition(":")
    if not (uid.isdigit() and gid.isdigit()):
        raise ValueError("they run as no job's user")
    now = linux.boot_id()
    return jobs.Job(
        id=int(number),
        restart=int(restart),
        boot=now if now.startswith(boot) else boot,
        uid=int(uid),
        gid=int(gid),
        user=_name_of(int(uid)),
        partition="",
        node=_node(),
        start=0,
        state=jobs.CLOSING,
        opened=float(min(container["Created"] for container in containers)),
        closed=0.0,
        version=1 if place[1] is None else 2,
        root=place[1] or place[2],
        cgroup=path,
        figure=0,
        pids=0,
        effective=0,
        verdict="",
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _node() -> str:
    """Slurm's name of this node, as a record has it; else the host's own, which is slurmd's default."""
    known = [job.node for job in (*jobs.everyone(), *jobs.tombstones()) if job.node]
    return known[0] if known else socket.gethostname().partition(".")[0]


def adopt(job: jobs.Job, containers: list[dict[str, Any]]) -> None:
    """Give a run its record: from here on it is one whose Epilog was broken off. Raises NodeFault, OSError."""
    jobs.create(job)
    for container in containers:
        nonce = container["Labels"].get(engine.LABEL_NONCE, "")
        note = notes.Note(nonce if nonce.isalnum() else notes.new_nonce(), "", container["Image"], id=container["Id"])
        notes.begin(job, note)

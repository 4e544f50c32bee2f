# SPDX-License-Identifier: Apache-2.0
"""The launch itself: decision → note → stage → dockerd → read back. Create, start, restart.

From decision to verified start the job is held by a shared flock, which the
Epilog waits for; a job that is CLOSING launches nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from slurm_hooks import cgroups, events, jobs, knobs, linux, tasks
from slurm_hooks.broker import (
    account,
    answers,
    etc,
    images,
    keeper,
    layers,
    model,
    networks,
    notes,
    readback,
    remap,
    rootfs,
    sockets,
    staging,
)
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Upstream, message_of
from slurm_hooks.errors import Conflict, NodeFault, Refused, refused_by
from slurm_hooks.knobs import identity, network, resources, ulimits, userns
from slurm_hooks.knobs import rootfs as rootfs_knob
from slurm_hooks.knobs.contract import JobFacts, Reach, Remap
from slurm_hooks.settings import Settings

# What runc says when it cannot start threads within pids.max, and when it dies of anything else.
PIDS_RIDDLES = ("can't get final child's pid", "resource temporarily unavailable", "read init-p: connection reset")
RUNC_TASKS = 32  # more than runc 1.1 to 1.3 needs in a container's cgroup to start it
NODE_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes; what a job may have that has no limit
ENDING = Conflict("this job is ending", "no container starts in it any more")


@contextmanager
def held(job: jobs.Job) -> Iterator[None]:
    """The job, open and kept open meanwhile. Raises Conflict where it is ending."""
    with linux.Locked(jobs.directory(job.key), shared=True) as lock:
        now = jobs.load(job.key) if lock.held else None
        if now is None or now.state != jobs.OPEN:
            raise ENDING
        yield


def who(asker: Asker, note: notes.Note) -> JobFacts:
    """The asker as the knobs want it for a read-back of a container."""
    ids = note.asked.get("remapped")
    return _base(asker, note.nonce, Remap(*ids) if ids else None)


def _base(asker: Asker, nonce: str, remapped: Remap | None) -> JobFacts:
    job = asker.job
    return JobFacts(
        job.key, job.id, job.uid, job.gid, asker.groups, job.cgroup, nonce, job.figure, tuple(job.gpus), job.with_gpu,
        remapped=remapped,
    )  # fmt: skip


def facts_of(asker: Asker, nonce: str, remapped: Remap | None = None, reach: Reach | None = None) -> JobFacts:
    """The same for a create, with what the container's own bounds and labels are made of. Raises OSError."""
    lsm = readback.lsm()
    return replace(
        _base(asker, nonce, remapped),
        memory=cgroups.of(asker.job.version).memory_limit(asker.job.cgroup) or NODE_MEMORY,
        limits=ulimits.parsed(asker.limits),
        lsm=lsm,
        profiles=readback.profiles(lsm),
        reach=reach,
    )


async def create(up: Upstream, site: Settings, asker: Asker, body: bytes, wish: str) -> tuple[int, Any]:
    """POST /containers/create: (status, JSON value). Raises HooksError."""
    job = asker.job
    site = site.of_partition(job.partition)
    with held(job):
        await _make_room(up, site, job, wish)
        nonce = notes.new_nonce()
        wanted = model.decode(body, model.Create)
        remapped = await remap.of(up) if wanted.user in identity.ROOTS and site.container.root == "remap" else None
        facts = facts_of(asker, nonce, remapped, networks.reach(site))
        found = await images.look(up, wanted.image or "")
        # Before the image is missed: a refused flag is told at once, and not after a pull.
        decision = knobs.decide(wanted, facts, site, found.directory if found else "")
        with refused_by("images"):
            image = images.admitted(found, site, wanted.image or "")
        _bounded(site, job)  # again: others may have begun while dockerd was asked, and from here on none can
        note = notes.Note(
            nonce, notes.free_name(job, wish, nonce), str(wanted.image), created=notes.now(), verified=False
        )
        notes.begin(job, note)
        try:
            with refused_by("mounts"):
                staged = await staging.stage(asker.pid, facts, decision.stages) if decision.stages else {}
            typed = {staged[stage.target]: stage.source for stage in decision.stages}
            own = await _own_files(asker, facts, image, decision)
            shown = typed | dict.fromkeys(own.values(), answers.HIDDEN)
            asked = _for_read_back(decision.fields, staged, remapped)
            asked["readonly"] = [staged[stage.target] for stage in decision.stages if stage.readonly]
            if decision.network:
                own_part = await networks.joined(up, site, job, decision.network)
                asked["network"] = {"name": decision.network, "subnet": own_part.subnet}
            note = notes.amend(job, note, sources=shown, asked=asked)
            name = answers.prefix(job.id, job.restart) + note.name
            new_body = decision.body(staged, image.volumes, own) | {"Image": image.id}
        except BaseException:
            await _undo(job, note)
            raise
        try:
            status, said = await up.value("POST", "/containers/create", {"name": name}, new_body)
        except BaseException:
            notes.lose(job, note)  # dockerd may have heard of it; the keeper finds out
            raise
        if status != 201:
            await _undo(job, note)
            return status, {"message": in_own_names(said, job)}
        try:
            with refused_by("mounts"):
                root = await rootfs.refuse_links(up, said["Id"])
            if remapped and not userns.holds(remapped, root):
                raise NodeFault("--user 0", "dockerd was started anew without userns-remap", "Try again.")
        except BaseException:
            await up.value("DELETE", f"/containers/{said['Id']}", {"v": "1", "force": "1"})
            await _undo(job, note)
            raise
        notes.amend(job, note, id=said["Id"], root=root)
    events.record(
        "create", job=job.id, restart=job.restart, container=note.name, id=said["Id"][:12], image=note.image,
        pids=decision.fields["HostConfig.PidsLimit"], mounts=list(typed.values()),
    )  # fmt: skip
    units = model.units(wanted)
    warnings = [
        text for text in said.get("Warnings") or [] if not resources.unasked(text, units) and not network.stale(text)
    ]
    return 201, {"Id": said["Id"], "Warnings": warnings}


async def _own_files(asker: Asker, facts: JobFacts, image: images.Image, decision: knobs.Decision) -> dict[str, str]:
    """What is ours in the container's /etc: target → file. Raises OSError, HooksError."""
    directories = await layers.of_image(image.raw)
    if not directories:
        return {}
    binds = [stage.target for stage in decision.stages]
    tmpfs = list(decision.fields[rootfs_knob.TMPFS])
    home, alone = etc.home_of(asker.pid), not decision.network
    return await asyncio.to_thread(etc.write, directories, facts, asker.job.user, home, binds, tmpfs, alone=alone)


async def _make_room(up: Upstream, site: Settings, job: jobs.Job, wish: str) -> None:
    """A place and the name are free. Before it says no it asks dockerd, whose word of a removal may be under way."""
    if len(notes.of(job)) >= site.container.number or (wish and notes.taken(job, wish)):
        await keeper.reconcile(up)
    _bounded(site, job)


def _bounded(site: Settings, job: jobs.Job) -> None:
    """Raises Conflict where the job has all the containers that it may have."""
    if len(notes.of(job)) >= site.container.number:
        raise Conflict(
            "docker run", f"this job has {site.container.number} containers already", "Remove some: docker rm."
        )


def _for_read_back(fields: dict[str, Any], staged: dict[str, str], remapped: Remap | None) -> dict[str, Any]:
    keep = (
        "User", "UsernsMode", "CgroupParent", "PidsLimit", "NetworkMode", "CapDrop", "ReadonlyRootfs", "Ulimits",
        "Devices", "Memory",
    )  # fmt: skip
    ids = [remapped.uid, remapped.gid] if remapped else []
    return {
        "staged": staged,
        "remapped": ids,
        **{unit: v for unit, v in fields.items() if unit.removeprefix("HostConfig.") in keep},
    }


async def _undo(job: jobs.Job, note: notes.Note) -> None:
    await staging.unstage(job.key, note.nonce)
    notes.drop(job.key, note.nonce)


async def start(up: Upstream, site: Settings, asker: Asker, note: notes.Note) -> tuple[int, Any]:
    """POST /containers/{id}/start, answered after the read-back: (status, JSON value). Raises HooksError."""
    job = asker.job
    with held(job):
        networks.standing(site, note.asked)
        if not note.asked.get("HostConfig.ReadonlyRootfs"):
            with refused_by("mounts"):  # again: an earlier start may have put links into a writable root
                await rootfs.refuse_links(up, note.id)
        before = note
        if note.verified:  # of an earlier start
            note = notes.amend(job, note, verified=False, shim=0)
        sockets.mark(job.uid)
        cgroups.of(job.version).let_runc_in(job.cgroup)
        status, said = await up.value("POST", f"/containers/{note.id}/start")
        if status == 304:
            if before.verified:  # it runs, and was read back when it was started
                notes.amend(job, before)
            return status, None
        if status != 204:
            text = in_words(in_own_names(said, job), job)
            events.record(
                "start-failed", job=job.id, restart=job.restart, container=note.name, id=note.id[:12], why=text,
                counts=cgroups.of(job.version).counts(job.cgroup),  # out of memory or of pids: runc just dies then
            )  # fmt: skip
            return status, {"message": text}
        wrong, shim = await _verified(up, asker, note)
        if wrong:
            await up.value("POST", f"/containers/{note.id}/kill")
            events.record("differs", job=job.id, restart=job.restart, container=note.name, id=note.id[:12], what=wrong)
            raise NodeFault(
                "this container was ended", f"it was not confined as asked: {'; '.join(wrong)}", "Tell the operators."
            )
        if notes.at(job, note.nonce):  # one of --rm that has ended already has none any more
            notes.amend(job, note, verified=True, shim=shim)
    return 204, None


async def restart(
    up: Upstream, site: Settings, asker: Asker, note: notes.Note, query: dict[str, str]
) -> tuple[int, Any]:
    """POST /containers/{id}/restart as a stop and a start: (status, JSON value). Raises HooksError.

    The stop's grace is the user's to choose, so the job is not held meanwhile: the Epilog would wait for it.
    """
    with held(asker.job):
        _, inspected = await up.value("GET", f"/containers/{note.id}/json")
    if ((inspected or {}).get("HostConfig") or {}).get("AutoRemove"):
        raise Refused("docker restart", "a container of --rm is gone once it has stopped", "Run it without --rm.")
    status, said = await up.value("POST", f"/containers/{note.id}/stop", query)
    if status not in (204, 304):
        return status, {"message": in_own_names(said, asker.job)}
    status, said = await start(up, site, asker, note)
    return (204, None) if status == 304 else (status, said)  # 304: somebody else has started it


async def _verified(up: Upstream, asker: Asker, note: notes.Note) -> tuple[list[str], int]:
    """(What is not as it was asked, the pid of its shim or 0)."""
    job = asker.job
    asked = dict(note.asked)
    staged = asked.pop("staged", {})
    _, inspected = await up.value("GET", f"/containers/{note.id}/json")
    state = (inspected or {}).get("State") or {}
    pid = int(state.get("Pid") or 0)
    if pid:
        await readback.own_program(pid)
    seen = readback.look(pid, job.version, staged) if pid else None
    if seen is None:
        wrong = readback.configured(inspected or {}, asked) if state else []
        events.record(
            "start", job=job.id, restart=job.restart, container=note.name, id=note.id[:12], read_back="ended before it"
        )
        return wrong, 0
    if wrong := knobs.verify(seen, who(asker, note), asked):
        return wrong, 0
    missing = set(staged) - set(seen.staged)
    if missing:
        return [f"mounts: {target} is not staged on the host" for target in sorted(missing)], 0
    account.watch(note.nonce, seen.pid, job.version, seen.cgroup)
    events.record(
        "start", job=job.id, restart=job.restart, container=note.name, id=note.id[:12], pid=seen.pid,
        read_back="as asked",
    )  # fmt: skip
    shim = int(seen.status["PPid"])
    return [], shim if tasks.is_shim(shim, note.id) else 0


def in_own_names(said: Any, job: jobs.Job) -> str:
    """dockerd's error, with the names that the job gave its containers; empty where it is none."""
    return answers.message(message_of(said), answers.prefix(job.id, job.restart))


def in_words(text: str, job: jobs.Job) -> str:
    """dockerd's error; runc's riddle about a full pids.max becomes what it means, where one is full."""
    if not any(riddle in text.lower() for riddle in PIDS_RIDDLES):
        return text
    hierarchy = cgroups.of(job.version)
    try:
        room = [limit - hierarchy.pids_now(level) for level, limit in hierarchy.pids_max(job.cgroup) if limit]
    except OSError:  # the job ends
        return text
    if not room or min(room) > RUNC_TASKS:
        return text
    return (
        f"docker run: the job has no room for a container's processes (limit {job.effective} with Slurm's own, room "
        f"for {max(min(room), 0)} more, threads counted). End some, or ask the site for a larger limit. ({text})"
    )

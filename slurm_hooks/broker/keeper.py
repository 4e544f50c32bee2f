# SPDX-License-Identifier: Apache-2.0
"""What goes on beside requests: ended containers are noted and their stages removed, steps are held to
their job's figure, tombstones are swept.

Everything here repeats what the Epilog does at the end of the job anyway; it
keeps a job of ten thousand `docker run --rm` from piling up mounts until then.
"""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from slurm_hooks import cgroups, events, jobs, linux, tasks
from slurm_hooks.broker import account, cache, containers, notes, orphans, readback, staging, suspend
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs import resources
from slurm_hooks.knobs.process import LABEL_JOB, LABEL_NONCE
from slurm_hooks.settings import Settings

HOLD_SECONDS = 1.0  # the TaskProlog asks for it too, but runs in the user's environment: so a second it is
SWEEP_SECONDS = 3600.0
RETRY_SECONDS = 1.0


async def run(
    upstream: Callable[[], Awaitable[Upstream]],
    forget: Callable[[], None],
    settings: Callable[[], Settings],
    sockets: Callable[[], Awaitable[None]],
) -> None:
    """For ever; no single failure ends it, and none of its tasks another's."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_kept("sockets", sockets))
        group.create_task(_kept("watch", lambda: _watch(upstream, forget)))
        group.create_task(_kept("sweep", lambda: _every(SWEEP_SECONDS, jobs.sweep)))
        group.create_task(_kept("hold steps", lambda: _every(HOLD_SECONDS, _hold_steps)))
        group.create_task(_kept("images", lambda: _keep_images(upstream, settings)))
        group.create_task(_kept("orphans", lambda: orphans.run(upstream)))


async def _kept(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """A task to its end; a bug of ours is told, and the task begins anew."""
    while True:
        try:
            return await task()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{name}: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
            events.record("keeper-bug", why=why)
        await asyncio.sleep(RETRY_SECONDS)


async def _every(seconds: float, do: Callable[[], None]) -> None:
    while True:
        try:
            do()
        except (OSError, HooksError) as error:
            events.record("keeper-fault", why=f"{do.__name__}: {error}")
        await asyncio.sleep(seconds)


def _hold_steps() -> None:
    # Of two runs at one path the younger is there (as in peers.Registry): an earlier one's figure is not its own.
    there = {job.cgroup: job for job in sorted(jobs.everyone(), key=lambda job: job.opened)}
    for job in there.values():
        if job.state == jobs.OPEN:
            cgroups.of(job.version).hold_steps(job.cgroup, job.figure)
            suspend.follow(job)


async def _keep_images(upstream: Callable[[], Awaitable[Upstream]], settings: Callable[[], Settings]) -> None:
    """The cache's bound: each hour, for what operators bring, and after a pull."""
    while True:
        try:
            await cache.evict(await upstream(), settings())
        except (OSError, HooksError) as error:
            events.record("keeper-fault", why=f"images: {error}")
        with suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_SECONDS):
                await cache.GROWN.wait()
        cache.GROWN.clear()


async def _watch(upstream: Callable[[], Awaitable[Upstream]], forget: Callable[[], None]) -> None:
    wanted = {"type": ["container"], "event": ["create", "die", "oom", "destroy"], "label": [LABEL_JOB]}
    lost = ""
    while True:
        try:
            up = await upstream()
            if lost:
                events.record("dockerd-back")
            lost = ""
            answer = await up.ask("GET", "/events", {"filters": json.dumps(wanted)})
            try:
                await reconcile(up)  # after the subscription, so that nothing falls between
                async for line in answer.lines():
                    await _happened(up, json.loads(line))
            finally:
                answer.close()
        except (OSError, ValueError, KeyError, HooksError) as error:
            if str(error) != lost:  # once, not each second until it comes back
                events.record("dockerd-lost", why=str(error))
            lost = str(error)
        forget()
        await asyncio.sleep(RETRY_SECONDS)


async def reconcile(up: Upstream) -> None:
    """Notes of containers that went while nobody watched, or just now, are dropped; a renamed one gets its name."""
    async with containers.RENAMING:
        # Notes first, then dockerd's list: the other way round a container that is made meanwhile would be missing.
        noted = [(job, note) for job in jobs.everyone() if job.state == jobs.OPEN for note in notes.of(job) if note.id]
        status, there = await up.value(
            "GET", "/containers/json", {"all": "1", "filters": json.dumps({"label": [LABEL_JOB]})}
        )
        if status != 200:
            return
        names = {container["Id"]: (container.get("Names") or [""])[0] for container in there}
        for job, note in noted:
            name = names.get(note.id, "").partition(".")[2]
            if note.id not in names:
                await _gone(job, note)
            elif name and name != note.name:
                notes.rename(job, note, name)
        running = {container["Id"] for container in there if container.get("State") == "running"}
    for job, note in noted:
        if note.id in running and note.verified and not account.is_watched(note.nonce):
            await _watch_again(up, job, note)


async def _watch_again(up: Upstream, job: jobs.Job, note: notes.Note) -> None:
    """See the end of a container that a broker before us has started."""
    _, inspected = await up.value("GET", f"/containers/{note.id}/json")
    pid = int(((inspected or {}).get("State") or {}).get("Pid") or 0)
    try:
        cgroup = readback.cgroup_of(pid, job.version) if pid else ""
    except OSError:
        return  # it has ended meanwhile
    if cgroup.startswith(f"{job.cgroup}/"):
        account.watch(note.nonce, pid, job.version, cgroup)


async def _happened(up: Upstream, event: dict[str, Any]) -> None:
    actor = event["Actor"]["Attributes"]
    key, nonce = actor[LABEL_JOB], actor.get(LABEL_NONCE, "")
    if not nonce.isalnum() or not os.path.isdir(jobs.directory(key)):
        return
    job = jobs.load(key)
    if job is None:
        return
    name, of = actor.get("name", "").partition(".")[2], str(event["Actor"].get("ID", ""))[:12]
    if event["Action"] == "die":
        peaks = cgroups.of(job.version).peaks(job.cgroup)
        _keep_peaks(job, peaks)
        status = int(actor.get("exitCode", -1))
        own = account.taken(nonce, status)
        note = notes.at(job, nonce)
        if note is not None:
            seconds = max(event.get("timeNano", 0) / 1e9 - note.created, 0.0)
            facts = {"name": name, "image": note.image, "exit": status, "seconds": round(seconds, 1)}
            limits = {"limit": note.asked.get("HostConfig.PidsLimit", 0), "most": note.asked.get(resources.MEMORY, 0)}
            account.keep(job, facts | limits | own)
        events.record("end", job=job.id, restart=job.restart, container=name, id=of, exit=status, own=own, peaks=peaks)
    elif event["Action"] == "oom":
        account.starved(nonce)
        events.record("oom", job=job.id, restart=job.restart, container=name, id=of)
    elif event["Action"] == "create":
        note = notes.at(job, nonce)
        if note is not None and note.lost:
            await orphans.remove(up, job, note)
    else:
        # And others that dockerd has no more, of which there was something left.
        gone = [note for note in notes.of(job) if note.id and (note.nonce == nonce or note.lost)]
        for note in gone:
            await _gone(job, note)
        if all(note.nonce != nonce for note in gone):
            await _dropped(key, nonce)


def _keep_peaks(job: jobs.Job, peaks: dict[str, int]) -> None:
    """The job's high-water marks now: Slurm may remove its cgroup before the Epilog can read them."""
    try:
        linux.replace(f"{jobs.directory(job.key)}/ops/peaks", json.dumps(peaks))
    except OSError:
        pass  # the record goes as we write: the Epilog has read the kernel itself


async def _gone(job: jobs.Job, note: notes.Note) -> None:
    """dockerd has the container no more: its note goes, unless there is something of it that dockerd did not take down.

    dockerd was killed half-way, or a shim did not answer it. The Epilog finds what it is by the note.
    """
    if not tasks.is_left(note.id, note.root):
        await _dropped(job.key, note.nonce)
    elif not note.lost:
        notes.lose(job, note)


async def _dropped(key: str, nonce: str) -> None:
    await staging.unstage(key, nonce)
    notes.drop(key, nonce)

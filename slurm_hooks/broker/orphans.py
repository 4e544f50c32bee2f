# SPDX-License-Identifier: Apache-2.0
"""What a broker that was killed in the middle of a launch has left, put right by the next one while the job runs.

    a note without an id        its create was broken off: the container, if dockerd made it, goes, and the note with it
    started, not read back      a container that nobody has judged: ended

The Epilog finds both by note and label in any case. Whether somebody is still at a launch is told by the lock
that every launch holds on the job's record, also one of an old broker that serves its streams to their end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from slurm_hooks import events, jobs, linux
from slurm_hooks.broker import notes, staging
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs.process import LABEL_NONCE

RETRY_SECONDS = 0.5  # for a job in which a launch is under way, or a dockerd that does not answer


async def run(upstream: Callable[[], Awaitable[Upstream]]) -> None:
    """Once for each job that was open when we came."""
    left = {job.key for job in jobs.everyone() if job.state == jobs.OPEN}
    while left:
        for key in sorted(left):
            try:
                if await _settled(await upstream(), key):
                    left.discard(key)
            except (OSError, HooksError) as error:
                events.record("keeper-fault", why=f"orphans of {key}: {error}")
        if left:
            await asyncio.sleep(RETRY_SECONDS)


async def _settled(up: Upstream, key: str) -> bool:
    job = jobs.load(key)
    if job is None or job.state != jobs.OPEN:
        return True
    found = _orphans(job)
    for note in found or ():
        if note.id:
            await _end_unjudged(up, job, note)
        else:
            await remove(up, job, note)
    return found is not None


def _orphans(job: jobs.Job) -> list[notes.Note] | None:
    """The job's notes of launches that nobody is at; None while a launch holds the record. For an instant alone."""
    with linux.Locked(jobs.directory(job.key)) as lock:
        if not lock.held:
            return None
        for note in notes.of(job):
            if not note.id and not note.lost:
                notes.lose(job, note)
        return [note for note in notes.of(job) if note.lost or not note.verified]


async def remove(up: Upstream, job: jobs.Job, note: notes.Note) -> None:
    """Remove a lost container if it is there; its note goes with dockerd's word that it went, or stays."""
    wanted = json.dumps({"label": [f"{LABEL_NONCE}={note.nonce}"]})
    status, there = await up.value("GET", "/containers/json", {"all": "1", "filters": wanted})
    for container in there if status == 200 else ():
        status, _ = await up.value("DELETE", f"/containers/{container['Id']}", {"force": "1", "v": "1"})
        if status in (204, 404):
            events.record("orphan", job=job.id, restart=job.restart, container=container["Id"][:12])
            notes.drop(job.key, note.nonce)
    await staging.unstage(job.key, note.nonce)


async def _end_unjudged(up: Upstream, job: jobs.Job, note: notes.Note) -> None:
    _, inspected = await up.value("GET", f"/containers/{note.id}/json")
    if ((inspected or {}).get("State") or {}).get("Running"):
        await up.value("POST", f"/containers/{note.id}/kill")
        what = ["the broker was killed before it was read back"]
        events.record("differs", job=job.id, restart=job.restart, container=note.name, what=what)

# SPDX-License-Identifier: Apache-2.0
"""The job's containers once they are made: found, listed, watched, inspected, renamed, paused, removed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from slurm_hooks.broker import answers, filters, launch, notes
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Answer, Upstream
from slurm_hooks.broker.streams import Rewritten
from slurm_hooks.knobs.process import LABEL_JOB

RENAMING = asyncio.Lock()  # one at a time, so that notes and dockerd have the same name last


def own(asker: Asker, reference: str) -> notes.Note:
    """The asker's container of that name or id. Raises NotFound, alike for "not yours" and "not there"."""
    return notes.find(asker.job, reference)


def _prefix(asker: Asker) -> str:
    return answers.prefix(asker.job.id, asker.job.restart)


def _label(asker: Asker) -> str:
    return f"{LABEL_JOB}={asker.job.key}"


async def listed(up: Upstream, asker: Asker, query: dict[str, str]) -> tuple[int, Any]:
    """GET /containers/json: (status, the job's own containers). Raises BadRequest, NotFound, NodeFault."""
    asked = filters.decoded(query.get("filters", ""))
    wanted = filters.for_list(asked, _label(asker), _prefix(asker), lambda name: own(asker, name).id)
    told = {**query, "filters": json.dumps(wanted)}
    most = None
    if "network" in asked and int(query.get("limit", 0)) > 0:
        # dockerd would count those that are in other networks; a limit shows containers that have ended too.
        most = int(told.pop("limit"))
        told["all"] = "1"
    status, said = await up.value("GET", "/containers/json", told)
    if status != 200:
        return status, said
    mine = notes.of(asker.job)
    typed = {note.id: note.image for note in mine}
    sources = {path: source for note in mine for path, source in note.sources.items()}
    readonly = {path for note in mine for path in note.asked.get("readonly", ())}
    found = [answers.of_image(one, typed) for one in answers.listed(said, _prefix(asker), sources, readonly)]
    found = [answers.joined(one, asker.job.key) for one in found]
    return status, [one for one in found if answers.in_one_of(one, asked.get("network"))][:most]


async def watched(up: Upstream, asker: Asker, query: dict[str, str]) -> Answer:
    """GET /events: dockerd's answer, whose lines are of the job's own containers. Raises BadRequest, NodeFault."""
    wanted = filters.for_events(filters.decoded(query.get("filters", "")), _label(asker), _prefix(asker))
    answer = await up.ask("GET", "/events", {**query, "filters": json.dumps(wanted)})
    return Rewritten(answer, lambda line: answers.event(line, _prefix(asker)))


async def measured(up: Upstream, asker: Asker, reference: str, query: dict[str, str]) -> Answer:
    """GET /containers/{id}/stats: dockerd's answer with the job's own names. Raises NotFound, NodeFault."""
    note = own(asker, reference)
    answer = await up.ask("GET", f"/containers/{note.id}/stats", query)
    return Rewritten(answer, lambda line: answers.stats(line, _prefix(asker)))


async def inspected(up: Upstream, asker: Asker, reference: str, query: dict[str, str]) -> tuple[int, Any]:
    """GET /containers/{id}/json: (status, the container as the job knows it). Raises NotFound, NodeFault."""
    note = own(asker, reference)
    status, said = await up.value("GET", f"/containers/{note.id}/json", query)
    if status != 200:
        return status, said
    shown = answers.inspected(said, _prefix(asker), note.sources, note.asked.get("readonly", ()))
    seen = answers.of_image(shown, {note.id: note.image})
    return status, answers.joined(seen, asker.job.key)


async def removed(up: Upstream, asker: Asker, reference: str, *, force: str) -> tuple[int, Any]:
    """DELETE /containers/{id}, with its anonymous volumes: (status, message). Raises NotFound, NodeFault."""
    note = own(asker, reference)
    query = {"v": "1", **({"force": force} if force else {})}
    return own_words(asker, *await up.value("DELETE", f"/containers/{note.id}", query), note.id, reference)


async def pruned(up: Upstream, asker: Asker, query: dict[str, str]) -> tuple[int, Any]:
    """POST /containers/prune, by ourselves: (status, what was removed). Raises BadRequest, Refused, NodeFault.

    dockerd prunes for one at a time on the node and refuses a second one, which would tell a job of another.
    """
    asked = filters.decoded(query.get("filters", ""))
    wanted = {"all": "1", "size": "1", "filters": json.dumps(filters.for_prune(asked, _label(asker)))}
    status, there = await up.value("GET", "/containers/json", wanted)
    if status != 200:
        return own_words(asker, status, there)
    gone, freed = [], 0
    for container in there:
        if filters.bears_all(container.get("Labels") or {}, asked.get("label!", [])):
            continue
        status, _ = await up.value("DELETE", f"/containers/{container['Id']}", {"v": "1"})
        if status == 204:
            gone.append(container["Id"])
            freed += container.get("SizeRw") or 0
    return 200, {"ContainersDeleted": gone or None, "SpaceReclaimed": freed}


async def renamed(up: Upstream, asker: Asker, reference: str, wish: str) -> tuple[int, Any]:
    """POST /containers/{id}/rename: (status, message). Raises HooksError.

    dockerd decides whether the name is free, behind the job's own prefix; the note follows at once. A broker that
    is killed between the two leaves it to the keeper.
    """
    job = asker.job
    async with RENAMING:
        note = own(asker, reference)
        with launch.held(job):
            path, name = f"/containers/{note.id}/rename", wish.lstrip("/")
            status, said = await up.value("POST", path, {"name": _prefix(asker) + name})
            if status == 204:
                try:
                    notes.rename(job, note, name)
                except OSError:
                    await up.value("POST", path, {"name": _prefix(asker) + note.name})
                    raise
    return own_words(asker, status, said, note.id, reference)


async def kept(up: Upstream, asker: Asker, reference: str, verb: str) -> tuple[int, Any]:
    """POST /containers/{id}/pause or unpause, in a job that stays open meanwhile. Raises HooksError.

    The Epilog's SIGKILL to what is being frozen, or thawed, must not meet it half way.
    """
    note = own(asker, reference)
    with launch.held(asker.job):
        return own_words(asker, *await up.value("POST", f"/containers/{note.id}/{verb}"), note.id, reference)


def own_words(asker: Asker, status: int, said: Any, id_: str = "", typed: str = "") -> tuple[int, Any]:
    """dockerd's answer, an error in it with the job's own names; a container's id is what the client has `typed`."""
    text = launch.in_own_names(said, asker.job)
    return status, {"message": text.replace(id_, typed) if id_ else text} if text else said

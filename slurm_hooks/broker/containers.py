# SPDX-License-Identifier: Apache-2.0
"""The job's containers once they are made: found, listed, inspected, removed."""

from __future__ import annotations

import json
from typing import Any

from slurm_hooks.broker import answers, notes
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.errors import BadRequest
from slurm_hooks.knobs.process import LABEL_JOB


def own(asker: Asker, reference: str) -> notes.Note:
    """The asker's container of that name or id. Raises NotFound, alike for "not yours" and "not there"."""
    return notes.find(asker.job, reference)


def _prefix(asker: Asker) -> str:
    return answers.prefix(asker.job.id, asker.job.restart)


def _sources(asker: Asker) -> dict[str, str]:
    return {path: source for note in notes.of(asker.job) for path, source in note.sources.items()}


async def listed(up: Upstream, asker: Asker, query: dict[str, str]) -> tuple[int, Any]:
    """GET /containers/json: (status, the job's own containers). Raises BadRequest, NodeFault."""
    try:
        asked = json.loads(query.get("filters", "{}"))
    except ValueError:
        raise BadRequest("docker ps --filter", "not JSON") from None
    filters = answers.filters_for(asker.job.key, asked, _prefix(asker), LABEL_JOB)
    status, said = await up.value("GET", "/containers/json", {**query, "filters": json.dumps(filters)})
    if status != 200:
        return status, said
    typed = {note.id: note.image for note in notes.of(asker.job)}
    return status, [answers.of_image(one, typed) for one in answers.listed(said, _prefix(asker), _sources(asker))]


async def inspected(up: Upstream, asker: Asker, reference: str, query: dict[str, str]) -> tuple[int, Any]:
    """GET /containers/{id}/json: (status, the container as the job knows it). Raises NotFound, NodeFault."""
    note = own(asker, reference)
    status, said = await up.value("GET", f"/containers/{note.id}/json", query)
    if status != 200:
        return status, said
    return status, answers.of_image(answers.inspected(said, _prefix(asker), note.sources), {note.id: note.image})


async def removed(up: Upstream, asker: Asker, reference: str, *, force: str) -> tuple[int, Any]:
    """DELETE /containers/{id}, with its anonymous volumes: (status, message). Raises NotFound, NodeFault."""
    note = own(asker, reference)
    query = {"v": "1", **({"force": force} if force else {})}
    status, said = await up.value("DELETE", f"/containers/{note.id}", query)
    if isinstance(said, dict) and "message" in said:
        said = {"message": answers.message(said["message"], _prefix(asker))}
    return status, said

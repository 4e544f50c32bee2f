# SPDX-License-Identifier: Apache-2.0
"""Who is still here, and how do we know it is theirs.

Each detector looks at the node afresh and gives what it found with the evidence
that makes it this job's. What we made ourselves (`everything`) is ended by
teardown, before. What the job made beside us (`beside`) is judged here, and
what is the job's without doubt is ended here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slurm_hooks import config, jobs
from slurm_hooks.escapes.beside import beside, choices
from slurm_hooks.escapes.inside import directories, is_inside, places, processes
from slurm_hooks.escapes.left import LIKELY, NOTE, SURE, Left
from slurm_hooks.escapes.mounted import mounts
from slurm_hooks.escapes.runtime import Noted, bundles, has_networks, networks, noted, shims
from slurm_hooks.escapes.words import described, ourselves

__all__ = [
    "LIKELY", "NOTE", "SURE", "Left", "Noted", "beside", "choices", "described", "directories", "everything",
    "has_networks", "is_inside", "mounts", "noted", "ourselves", "places", "processes", "shims",
]  # fmt: skip


def everything(
    job: jobs.Job, containers: list[dict[str, Any]], known: Mapping[str, Noted], *, run: str = config.RUN
) -> list[Left]:
    """All that is left of a job.

    Args:
        containers: as dockerd lists them now.
        known: the containers that were noted before the teardown. The broker drops a note as soon as dockerd says
            that the container is gone.
    """
    own = {**known, **noted(job, run)}
    return [
        *processes(job, run),
        *(Left("container", f"container {c['Id'][:12]} ({c.get('State', '?')})", "label") for c in containers),
        *shims(own),
        *bundles(own),
        *networks(job, run),
        *mounts(job, [one.root for one in own.values()], run),
        *directories(job, run),
    ]

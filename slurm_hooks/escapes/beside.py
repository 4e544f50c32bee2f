# SPDX-License-Identifier: Apache-2.0
"""What a job left beside us, by the site's choice: ended, drained for, or told of ([epilog] in slurm-hooks.toml)."""

from __future__ import annotations

from slurm_hooks import config, events, jobs, linux
from slurm_hooks.escapes import outside, things
from slurm_hooks.escapes.left import LIKELY, SURE, Left

DETECTORS = (outside.strays, things.ipc, things.fuse, things.later)


def beside(job: jobs.Job, *, late: bool = False) -> list[Left]:
    """End what is the job's without doubt where the site lets us; look again; what must drain the node.

    What needs not is an event: `ended`, or `beside` with what it is and how we know. Where the job's end was not
    seen (`late`), nothing tells the job's time from what its user began later: then all is only told of.
    """
    if job.boot != linux.boot_id():
        return []
    site = dict.fromkeys(("escapes", "doubts", "ipc"), "report") if late else choices()
    ended = outside.end(job) if site["escapes"] == "end" else []
    if site["ipc"] == "remove":
        ended += things.remove_ipc(job)
    for one in ended:
        events.record("ended", job=job.id, restart=job.restart, kind=one.kind, what=one.what, evidence=one.evidence)
    drains = []
    for one in (left for detector in DETECTORS for left in detector(job)):
        if (one.weight == SURE and site["escapes"] != "report") or (one.weight == LIKELY and site["doubts"] == "drain"):
            drains.append(one)
        else:
            events.record(
                "beside", job=job.id, restart=job.restart, kind=one.kind, what=one.what, evidence=one.evidence,
                weight=one.weight,
            )  # fmt: skip
    return drains


def choices() -> dict[str, str]:
    """[epilog] of the site; its defaults where the configuration is broken, or older than the table."""
    own: dict[str, str] = config.for_epilog().get("epilog", {})
    return {"escapes": "end", "doubts": "report", "ipc": "report", "sweep": "drain"} | own

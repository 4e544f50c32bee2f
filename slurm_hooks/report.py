# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks report`: what happened in a job, in order, from the events; or what holds the node."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from slurm_hooks import events, jobs, words
from slurm_hooks.errors import HooksError, one_line


def main(job: int, *, as_json: bool = False, as_html: bool = False) -> int:
    """Print the report. Raises HooksError where nothing is known of the job."""
    found = sorted(filter(words.is_event, events.read(job=job)), key=lambda event: float(event["time"]))
    if not found:
        raise HooksError(f"job {job}", "no event of it on this node", "Ask the node that ran it: scontrol show job.")
    if as_html:
        from slurm_hooks import page

        known = {one.restart: one for one in jobs.everyone() if one.id == job}
        records = {restart: one.state for restart, one in known.items()}
        node = next((one.node for one in known.values()), os.uname().nodename)
        print(page.page(job, node, found, records, time.time(), _clock), end="")
        return 0
    for event in found:
        print(json.dumps(event) if as_json else line(event))
    return 0


def node(*, as_json: bool) -> int:
    """Print what of our jobs holds this node; 1 where something does."""
    found = jobs.everyone()
    held = [job for job in found if job.state == jobs.CLOSING]
    left = {job.id: _left(job) for job in held}
    if as_json:
        print(json.dumps([{"job": job.id, "user": job.user, "since": job.closed, "verdict": job.verdict,
                           "left": left[job.id]} for job in held]))  # fmt: skip
        return int(bool(held))
    for job in held:
        print(one_line(f"job {job.id} ({job.user}): {job.verdict or 'its Epilog is at work, or was broken off'}"))
        for event in left[job.id]:
            print(f"  {line(event)}")
        print(f"  next: slurm-hooks epilog {job.id}")
    if swept := [event for event in events.read(job=0) if event["event"] == "swept"]:
        print(f"last sweep: {line(swept[-1])}")
    if not held:
        print(f"no job that is over holds this node; {len(found)} open")
    return int(bool(held))


def _left(job: jobs.Job) -> list[dict[str, Any]]:
    """What the last look at a job's end has found."""
    events_of = [event for event in events.read(job=job.id) if event["restart"] == job.restart]
    epilogs = [index for index, event in enumerate(events_of) if event["event"] == "epilog"]
    begins = epilogs[-2] + 1 if len(epilogs) > 1 else 0
    return [event for event in events_of[begins:] if event["event"] == "left"]


def line(event: dict[str, Any]) -> str:
    """An event as a person reads it."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    return one_line(f"{clock}  {event['event']:<10} {words.words(event)}")


def _clock(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s since 1970"

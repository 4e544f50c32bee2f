# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks report`: what happened in a job, in order, from the events; or what holds the node."""

from __future__ import annotations

import json
import time
from typing import Any

from slurm_hooks import events, figures, jobs
from slurm_hooks.errors import HooksError, one_line


def main(job: int, *, as_json: bool) -> int:
    """Print the report. Raises HooksError where nothing is known of the job."""
    found = sorted(events.read(job=job), key=lambda event: event["time"])
    if not found:
        raise HooksError(f"job {job}", "no event of it on this node", "Ask the node that ran it: scontrol show job.")
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
    return one_line(f"{clock}  {event['event']:<10} {words(event)}")


def words(event: dict[str, Any]) -> str:
    """What an event says, by its kind; an unknown kind is shown with all its facts."""
    match event["event"]:
        case "prolog":
            return (
                f"job of {event['user']}: {event['cgroup']}, pids.max {event['pids']}, in force {event['effective']} "
                f"({event['why']})"
            )
        case "create":
            mounts = f", mounts {' '.join(event['mounts'])}" if event["mounts"] else ""
            return f"container {event['container']} of {event['image']}, pids limit {event['pids']}{mounts}"
        case "start":
            return f"container {event['container']}: read back from the kernel: {event['read_back']}"
        case "end":
            how = f"exit {event['exit']}{_died(event['exit'])}{_own(event)}"
            return f"container {event['container']}: {how}{_peaks(event)}"
        case "exec":
            return f"container {event['container']}: {event['command']}"
        case "pull":
            said = event["why"] or f"{event['unpacked'] / 1e6:.0f} MB unpacked"
            return f"{event['image']}: {said} ({event['seconds']:.1f} s, {event['bytes'] / 1e6:.0f} MB to fetch)"
        case "exec-start":
            return f"container {event['container']}: its exec was read back from the kernel: {event['read_back']}"
        case "refused":
            return str(event["why"])
        case "epilog":
            return f"{event['verdict']}, {event['seconds']:.2f} s{_peaks(event)}"
        case "left":
            return f"{event['kind']}: {event['what']} ({event['evidence']})"
        case "ended" | "beside":
            return f"{event['kind']}: {event['what']} ({event.get('weight', 'sure')}: {event['evidence']})"
    facts = {key: value for key, value in event.items() if key not in ("time", "event", "job", "restart")}
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _died(status: int) -> str:
    return f" (signal {status - 128})" if status > 128 else ""


def _own(event: dict[str, Any]) -> str:
    own = event.get("own") or {}
    said = []
    if own.get("oom"):
        said.append("processes ended for want of memory")
    if own.get("full"):
        said.append("its pids limit was reached")
    said += figures.used(own)
    return f", {', '.join(said)}" if said else ""


def _peaks(event: dict[str, Any]) -> str:
    peaks = event.get("peaks") or {}
    said = []
    if "pids" in peaks:
        said.append(f"{peaks['pids']} processes")
    if "memory" in peaks:
        said.append(f"{peaks['memory'] / 2**20:.0f} MiB")
    return f"; the job's peak so far: {', '.join(said)}" if said else ""

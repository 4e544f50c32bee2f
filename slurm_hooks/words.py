# SPDX-License-Identifier: Apache-2.0
"""What one event says, in words. Pure, and light: `report` is asked again and again by those who wait for a job."""

from __future__ import annotations

import math

from slurm_hooks import figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Event = dict[str, Any]


def is_event(entry: Any) -> bool:
    """Has a line of the log what every event has?"""
    return isinstance(entry, dict) and isinstance(entry.get("event"), str) and number(entry.get("time")) > 0


def number(value: Any) -> float:
    """A figure of an event; 0.0 where it is none."""
    try:
        found = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return found if math.isfinite(found) else 0.0


def whole_numbers(value: Any) -> dict[str, int]:
    """The figures of a container or a job, by their names; what is none is left out."""
    found = value.items() if isinstance(value, dict) else ()
    return {str(key): int(number(one)) for key, one in found if isinstance(one, int | float)}


def words(event: Event) -> str:
    """What an event says, by its kind; an unknown kind, or another release's, is shown with all its facts."""
    try:
        if said := _known(event):
            return said
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        pass
    facts = {key: value for key, value in event.items() if key not in ("time", "event", "job", "restart")}
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _known(event: Event) -> str:
    match event["event"]:
        case "prolog":
            return (
                f"job of {event['user']}: {event['cgroup']}, pids.max {event['pids']}, in force {event['effective']} "
                f"({event['why']}){', GPUs ' if event.get('gpus') else ''}{' '.join(event.get('gpus', ()))}"
            )
        case "gpus-unknown":
            return f"containers get no GPU: {event['why']}"
        case "create":
            mounts = f", mounts {' '.join(event['mounts'])}" if event["mounts"] else ""
            return f"container {event['container']} of {event['image']}, pids limit {event['pids']}{mounts}"
        case "start":
            return f"container {event['container']}: read back from the kernel: {event['read_back']}"
        case "end":
            how = f"exit {event['exit']}{_died(event['exit'])}{_own(event)}"
            return f"container {event['container']}: {how}{_peaks(event)}"
        case "oom":  # of all below the limit that was met, on cgroup v1: the end tells which of them it has cost
            return f"container {event['container']}: memory ran out, its own or the job's"
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
        case "networks":
            return event["why"] or f"the rules of restricted networks: {event['rules']}"
        case "sweep":
            return f"no Epilog has ended it: {event['why']}"
        case "swept":
            fault = f", then broken off: {event['why']}" if event["why"] else ""
            return f"{event['jobs']} jobs ended, {event['left']} not clean{fault}"
        case "left":
            return f"{event['kind']}: {event['what']} ({event['evidence']})"
        case "ended" | "beside":
            return f"{event['kind']}: {event['what']} ({event.get('weight', 'sure')}: {event['evidence']})"
    return ""


def _died(status: int) -> str:
    return f" (signal {status - 128})" if status > 128 else ""


def _own(event: Event) -> str:
    own = event.get("own") or {}
    said = []
    if own.get("oom"):
        said.append("processes ended for want of memory")
    if own.get("full"):
        said.append("its pids limit was reached")
    said += figures.used(own)
    return f", {', '.join(said)}" if said else ""


def _peaks(event: Event) -> str:
    peaks = event.get("peaks") or {}
    said = []
    if "pids" in peaks:
        said.append(f"{peaks['pids']} processes")
    if "memory" in peaks:
        said.append(f"{peaks['memory'] / 2**20:.0f} MiB")
    return f"; the job's peak so far: {', '.join(said)}" if said else ""

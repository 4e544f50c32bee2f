# SPDX-License-Identifier: Apache-2.0
"""Events counted, for Prometheus: which series there are, what an event adds to them, and how they are written. Pure.

The set of series is closed: every value that a label may have stands here, and what is none of them is `other`. So no
user, image or job makes a series, whatever is in an event; and each series is there, as 0, before its first event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from slurm_hooks import words

PREFIX = "slurm_hooks_"
OTHER = "other"
KNOBS = (
    "identity", "capabilities", "seccomp", "apparmor", "selinux", "namespaces", "userns", "network", "cgroup", "pids",
    "resources", "ulimits", "devices", "mounts", "rootfs", "proc", "images", "process", "logs", "lifetime", "runtime",
)  # fmt: skip
# Who else refuses: a row of routes.ROUTES by its word, no row at all, or the broker a process that is in no job.
OF_REQUESTS = {"pull": "images", "distribution": "images", "login": "images", "image": "images",
               "exec-create": "execs", "exec-start": "execs", "endpoint": "endpoint", "asker": "asker"}  # fmt: skip
LEFT = ("process", "container", "shim", "task", "network", "mount", "cgroup", "escape", "fuse", "ipc", "timer", OTHER)
BECAME = {"left": "held", "ended": "ended", "beside": "reported"}
FAULTS = (
    "broker-bug", "broker-fault", "config-broken", "dockerd-lost", "drain-failed", "epilog-bug", "epilog-failed",
    "keeper-bug", "keeper-fault", "prolog-failed", "record-damaged", "record-fault", "socket-fault", "sweep-fault",
    "upgrade-failed",
)  # fmt: skip
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 113.0, 150.0)  # 113: docs/operators.md, the bound

# A drain reason is teardown.reason's or epilog's; the first that matches.
_OF_A_JOB = r"slurm-hooks: job \d+(?: \([^)]*\))?:? "
REASONS = {
    "escape": r"left pid \d+ .*, state \S+ outside of the job",
    "shim": r"left pid \d+ containerd-shim\S* of ",
    "process": r"left pid \d+ ",
    "container": r"left container ",
    "dockerd": r"left its containers, unknown",
    "network": r"left the bridge ",
    "mount": r"left /run/slurm-hooks/stage/",
    "cgroup": r"left /",
    "fuse": r"left \S+ on /",
    "start": r"a container start hangs",
    "bug": r"left pids \[.*; bug: ",
}
_PATTERNS = {reason: re.compile(_OF_A_JOB + pattern) for reason, pattern in REASONS.items()}


@dataclass(frozen=True)
class Family:
    """A metric: its name, what it says, and the values that each of its labels may have."""

    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kind: str = "counter"

    def samples(self) -> list[str]:
        """The names of its series, as they are written, without the prefix."""
        if self.kind == "histogram":
            bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
            return [*(sample(f"{self.name}_bucket", le=le) for le in bounds), f"{self.name}_sum", f"{self.name}_count"]
        return [
            sample(self.name, **dict(zip(self.labels, values, strict=True)))
            for values in product(*self.labels.values())
        ]


COUNTERS = (
    Family("jobs_begun_total", "Runs of jobs for which the Prolog opened a record."),
    Family("jobs_swept_total", "Runs that were over and that no Epilog had ended, ended by the sweep."),
    Family("jobs_ended_total", "Verdicts of Epilogs and sweeps; one that is given again for a job counts again.",
           {"verdict": ("clean", "left")}),
    Family("teardown_seconds", "What Epilogs took.", kind="histogram"),
    Family("containers_created_total", "Containers that dockerd made for jobs."),
    Family("containers_started_total", "Starts, by what the read-back from the kernel found.",
           {"read_back": ("as asked", "ended before it", OTHER)}),
    Family("container_starts_failed_total", "Starts that dockerd or runc refused."),
    Family("containers_ended_total", "Ends of containers, by their cause.",
           {"cause": ("done", "failed", "signal", "memory", "pids")}),
    Family("execs_total", "docker exec, created."),
    Family("pulls_total", "Pulls by jobs.", {"result": ("pulled", "failed")}),
    Family("pulled_bytes_total", "What pulls had to fetch."),
    Family("refusals_total", "Requests refused, by the knob that did; of a job the first 100 are counted.",
           {"knob": (*KNOBS, "execs", "endpoint", "asker", OTHER)}),
    Family("requests_failed_total", "Requests that the node could not serve: a fault, or a broken configuration."),
    Family("differs_total", "Containers and execs that were ended as the kernel did not have them as asked, by the "
           "knob that saw it; unread: nobody had looked, as the broker was killed.",
           {"knob": (*KNOBS, "unread", OTHER)}),
    Family("leftovers_total", "What jobs left, by kind and by what became of it.",
           {"kind": LEFT, "became": tuple(BECAME.values())}),
    Family("drains_total", "Drains of the node, by what was left first.", {"reason": (*REASONS, OTHER)}),
    Family("faults_total", "Faults of slurm-hooks or of what it stands on, by event.", {"event": FAULTS}),
    Family("orphans_total", "Containers of a launch that was broken off, removed."),
    Family("images_evicted_total", "Images removed to keep the cache within its bound."),
    Family("broker_starts_total", "Starts of the broker."),
    Family("log_lines_damaged_total", "Lines of the event log that could not be read."),
    Family("log_gaps_total", "Times when a part of the log was gone before it was counted."),
)  # fmt: skip
OF_LOG = (Family("dockerd_up", "0 while the jobs' dockerd does not answer the broker.", kind="gauge"),)
GAUGES = (
    Family("jobs", "Jobs with a record on the node, by its state.", {"state": ("open", "closing")}, "gauge"),
    Family("node_held", "1 while a job that is over and not clean holds the node.", kind="gauge"),
    Family("counting_since_timestamp_seconds", "When these counters began.", kind="gauge"),
)

Counts = dict[str, float]


def sample(name: str, **labels: str) -> str:
    """A series as it is written: `refusals_total{knob="mounts"}`."""
    if not labels:
        return name
    said = ",".join(f'{key}="{escaped(value)}"' for key, value in labels.items())
    return f"{name}{{{said}}}"


def escaped(value: str) -> str:
    """A label's value in the text format."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def nothing() -> Counts:
    """Every counter, 0; and what the log has not said to be otherwise."""
    return {name: 0.0 for family in COUNTERS for name in family.samples()} | {"dockerd_up": 1.0}


def restored(saved: Mapping[str, Any]) -> Counts:
    """Counters as they were saved: of those that there are, and where they are figures."""
    return {name: max(words.number(saved.get(name, value)), 0.0) for name, value in nothing().items()}


def add(counts: Counts, event: Mapping[str, Any]) -> None:
    """Count an event; words.is_event holds for it."""

    def count(name: str, by: float = 1, **labels: str) -> None:
        known = {
            key: value if sample(name, **(labels | {key: value})) in counts else OTHER for key, value in labels.items()
        }
        counts[sample(name, **known)] += by

    kind = event["event"]
    match kind:
        case "prolog":
            count("jobs_begun_total")
        case "sweep":
            count("jobs_swept_total")
        case "swept" if event.get("why"):  # broken off
            count("faults_total", event="sweep-fault")
        case "epilog":
            count("jobs_ended_total", verdict="clean" if event.get("verdict") == "clean" else "left")
            _observe(counts, "teardown_seconds", max(words.number(event.get("seconds")), 0.0))
        case "create":
            count("containers_created_total")
        case "start":
            count("containers_started_total", read_back=str(event.get("read_back")))
        case "start-failed":
            count("container_starts_failed_total")
        case "end":
            count("containers_ended_total", cause=_cause(event))
        case "exec":
            count("execs_total")
        case "pull":
            count("pulls_total", result="failed" if event.get("why") else "pulled")
            count("pulled_bytes_total", max(words.number(event.get("bytes")), 0.0))
        case "refused" if event.get("by") == "node":
            count("requests_failed_total")
        case "refused":
            by = str(event.get("by"))
            count("refusals_total", knob=OF_REQUESTS.get(by, by))
        case "differs":
            count("differs_total", knob=_knob(event.get("what")))
        case "left" | "ended" | "beside":
            what = str(event.get("kind"))
            count("leftovers_total", kind=what if what in LEFT else OTHER, became=BECAME[kind])
        case "drain":
            count("drains_total", reason=reason(str(event.get("why"))))
        case "orphan":
            count("orphans_total")
        case "evict":
            images = event.get("images")
            count("images_evicted_total", len(images) if isinstance(images, list) else 0)
        case "broker-start":
            count("broker_starts_total")
            counts["dockerd_up"] = 1
        case "dockerd-back":
            counts["dockerd_up"] = 1
        case _ if kind in FAULTS:
            count("faults_total", event=kind)
            if kind == "dockerd-lost":
                counts["dockerd_up"] = 0


def reason(text: str) -> str:
    """The class of a drain reason."""
    return next((name for name, pattern in _PATTERNS.items() if pattern.match(text)), OTHER)


def _cause(event: Mapping[str, Any]) -> str:
    own, status = words.whole_numbers(event.get("own")), words.number(event.get("exit"))
    if own.get("oom"):
        return "memory"
    if own.get("full"):
        return "pids"
    return "done" if status == 0 else "signal" if status > 128 else "failed"


def _knob(what: Any) -> str:
    first = str(what[0]) if isinstance(what, list) and what else ""
    return "unread" if "before it was read back" in first else first.partition(":")[0]


def _observe(counts: Counts, name: str, value: float) -> None:
    for bound in BUCKETS:
        counts[sample(f"{name}_bucket", le=f"{bound:g}")] += value <= bound
    counts[sample(f"{name}_bucket", le="+Inf")] += 1
    counts[f"{name}_sum"] += value
    counts[f"{name}_count"] += 1


def text(counts: Counts, gauges: Counts, version: str) -> str:
    """The whole in Prometheus' text format."""
    lines = [f"# HELP {PREFIX}info The release.", f"# TYPE {PREFIX}info gauge",
             f"{PREFIX}{sample('info', version=version)} 1"]  # fmt: skip
    for families, values in ((GAUGES, gauges), (OF_LOG, counts), (COUNTERS, counts)):
        for family in families:
            lines += [f"# HELP {PREFIX}{family.name} {family.help}", f"# TYPE {PREFIX}{family.name} {family.kind}"]
            lines += [f"{PREFIX}{name} {_figure(values[name])}" for name in family.samples()]
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))

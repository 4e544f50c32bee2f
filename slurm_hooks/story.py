# SPDX-License-Identifier: Apache-2.0
"""What the events of a job say together: its runs, their containers, and how it went. Pure.

A container is told by its id. Its name may be used again by the next one, or be changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from slurm_hooks import words

Event = dict[str, Any]
Clock = Callable[[float], str]  # seconds since 1970 → as the node's people read it
OPEN, CLOSING, NO_RECORD = "open", "closing", ""  # what the node's record says of a run
RAN_OUT = "ended before it"  # of a start: the container was over before the kernel could be asked
OK, BAD, GOING = "ok", "bad", "going"


@dataclass
class Span:
    """A container from a start to its end."""

    begin: float
    end: float | None = None  # None: no end was seen
    exit: int | None = None
    own: dict[str, int] = field(default_factory=dict)  # figures.used has the units
    started: bool = True  # its start was seen
    torn_down: bool = False  # its job was over, and the Epilog ended it


@dataclass
class Container:
    """A container of a run, with all its starts."""

    name: str
    image: str
    created: float
    spans: list[Span] = field(default_factory=list)
    execs: list[tuple[float, str]] = field(default_factory=list)  # when, its program
    faults: list[tuple[float, str]] = field(default_factory=list)  # a start that failed, or was not as asked

    @property
    def oom(self) -> bool:
        """Has want of memory ended processes of it, in any of its starts?"""
        return any(span.own.get("oom") for span in self.spans)

    @property
    def own(self) -> dict[str, int]:
        """The figures of its last start, as far as they could be read."""
        return self.spans[-1].own if self.spans else {}

    @property
    def failed(self) -> bool:
        """Did it end by itself otherwise than by 0, or not start?"""
        last = self.spans[-1] if self.spans else None
        return bool(self.faults) or bool(last and last.exit and not last.torn_down)

    def seconds(self, until: float) -> float:
        """How long it ran, all starts together."""
        return sum(max((until if span.end is None else span.end) - span.begin, 0.0) for span in self.spans)

    def began(self, event: Event) -> None:
        """A start. The end of a short one is noted first: another task hears of it."""
        last = self.spans[-1] if self.spans else None
        if last and not last.started and event.get("read_back") == RAN_OUT:
            last.started = True
        else:
            self.spans.append(Span(event["time"]))

    def ended(self, event: Event) -> None:
        """An end."""
        if not self.spans or self.spans[-1].end is not None:
            self.spans.append(Span(self.spans[-1].end or self.created if self.spans else self.created, started=False))
        last = self.spans[-1]
        last.end = max(event["time"], last.begin)
        status = event.get("exit")
        last.exit = status if isinstance(status, int) else -1
        last.own = words.whole_numbers(event.get("own"))


@dataclass
class Run:
    """One run of a job: a requeued one has several."""

    index: int  # among the runs of the page
    restart: int
    record: str  # OPEN, CLOSING, NO_RECORD
    events: list[Event]
    containers: list[Container]
    until: float  # the end of its picture, seconds since 1970

    def of(self, *kinds: str) -> list[Event]:
        """Its events of these kinds."""
        return [event for event in self.events if event["event"] in kinds]

    def first(self, kind: str) -> Event:
        """The first event of a kind; empty where there is none."""
        return next(iter(self.of(kind)), {})

    @property
    def begin(self) -> float:
        """Its first event, seconds since 1970."""
        return float(self.events[0]["time"])

    @property
    def is_over(self) -> bool:
        """Has an Epilog given a verdict?"""
        return bool(self.first("epilog"))

    @property
    def is_clean(self) -> bool:
        """Was nothing left when an Epilog looked last?"""
        return self.is_over and self.of("epilog")[-1].get("verdict") == "clean"


def runs(found: Iterable[Event], records: dict[int, str], now: float) -> list[Run]:
    """The runs of a job, in their order. A Prolog after an Epilog begins one too: a job's number may be used again.

    Args:
        found: its events.
        records: restart count → what the node's record says of that run, where it has one.
        now: seconds since 1970.
    """
    every: list[tuple[int, list[Event]]] = []
    latest: dict[int, list[Event]] = {}
    for event in sorted(found, key=lambda event: float(event["time"])):
        restart = event.get("restart")
        restart = restart if isinstance(restart, int) else 0
        before = latest.get(restart, [])
        if not before or (event["event"] == "prolog" and any(one["event"] == "epilog" for one in before)):
            latest[restart] = []
            every.append((restart, latest[restart]))
        latest[restart].append(event)
    return [
        _run(index, restart, records.get(restart, NO_RECORD) if of_run is latest[restart] else NO_RECORD, of_run, now)
        for index, (restart, of_run) in enumerate(every)
    ]


def _run(index: int, restart: int, record: str, of_run: list[Event], now: float) -> Run:
    run = Run(index, restart, record, of_run, _containers(of_run), 0.0)
    epilog = run.first("epilog")
    if epilog:  # later ones, by hand, may come hours after
        run.until = epilog["time"]
        for span in (span for one in run.containers for span in one.spans):
            span.torn_down = span.end is None or span.end >= run.until - words.number(epilog.get("seconds"))
    else:
        run.until = max(now, of_run[-1]["time"]) if record else of_run[-1]["time"]
    return run


def _containers(of_run: list[Event]) -> list[Container]:
    every: list[Container] = []
    known: dict[str, Container] = {}  # by id and by name

    def made(event: Event) -> Container:
        one = Container(str(event.get("container", "?")), str(event.get("image", "?")), event["time"])
        every.append(one)
        for key in (f"id {event.get('id')}" if event.get("id") else "", f"name {one.name}"):
            known[key] = one
        return one

    def named(event: Event) -> Container:
        by_id = known.get(f"id {event['id']}") if event.get("id") else None
        if by_id:
            by_id.name = str(event.get("container") or by_id.name)  # docker rename
        return by_id or known.get(f"name {event.get('container')}") or made(event)

    for event in of_run:
        when = event["time"]
        match event["event"]:
            case "create":
                made(event)
            case "start":
                named(event).began(event)
            case "end":
                named(event).ended(event)
            case "exec":
                named(event).execs.append((when, str(event.get("command", "?"))))
            case "start-failed" | "differs":
                named(event).faults.append((when, f"{event['event']}: {event.get('why') or event.get('what')}"))
    return every


def outcome(one: Container, run: Run) -> str:
    """How a container ended, in words."""
    if not one.spans:
        return "did not start" if one.faults else "never started"
    last = one.spans[-1]
    if last.torn_down:
        return "ended with the job"
    if last.end is None:
        return "running" if run.record == OPEN else "no end was seen"
    said = [f"exit {last.exit}"]
    if one.oom:
        said.append("out of memory")
    elif last.exit is not None and last.exit > 128:
        said.append(f"signal {last.exit - 128}")
    if last.own.get("full"):
        said.append("pids limit reached")
    return ", ".join(said)


def headline(job: int, run: Run, clock: Clock) -> tuple[str, str]:
    """(OK, BAD or GOING; the sentence that tells how it stands)."""
    epilogs = run.of("epilog")
    if not epilogs:
        if run.record == OPEN:
            return GOING, f"Running since {clock(run.begin)}. {_containers_in_words(run)}"
        if run.record == CLOSING:
            return (
                BAD,
                f"Over, and not torn down: its Epilog is at work, or was broken off. {_containers_in_words(run)}",
            )
        if run.first("prolog-failed") and not run.first("prolog"):
            return BAD, f"No containers in this job: {run.first('prolog-failed').get('why')}"
        return BAD, f"Its Epilog never came: the node, or slurmd, went down before it. {_containers_in_words(run)}"
    verdict = str(epilogs[-1].get("verdict"))
    if verdict != "clean":
        return BAD, f"Not clean: {verdict.removeprefix('slurm-hooks: ')}"
    took = words.number(epilogs[-1].get("seconds"))
    looks = len(epilogs)
    if any(epilog.get("verdict") != "clean" for epilog in epilogs):
        last = f"at {clock(epilogs[-1]['time'])}, at look {looks}"
        return (
            OK,
            f"Clean {last}: nothing of the job is left, but the node was drained for it. {_containers_in_words(run)}",
        )
    late = " It was ended by the sweep, as no Epilog had." if run.first("sweep") else ""
    return OK, f"Clean: nothing of the job was left after {took:.2f} s of teardown.{late} {_containers_in_words(run)}"


def _containers_in_words(run: Run) -> str:
    number, failed = len(run.containers), sum(one.failed for one in run.containers)
    if not number:
        said = "It used no container"
    else:
        how = f"{failed} failed" if failed else "none failed"
        said = f"It ran {number} container{'s' * (number > 1)}, {how}"
    if memory := sum(one.oom for one in run.containers):
        said += f" ({memory} for want of memory)"
    if refused := len(run.of("refused")):
        said += f"; {refused} request{'s were' if refused > 1 else ' was'} refused"
    return f"{said}."


def counted(events: Iterable[Event]) -> list[tuple[str, int]]:
    """What was refused, and how often, the most frequent first."""
    return Counter(str(event.get("why")) for event in events).most_common()

# SPDX-License-Identifier: Apache-2.0
"""The timeline of a run as SVG: places across are percentages, so it fits any screen with letters of one size. Pure.

No meaning is in a colour alone: what failed is hatched, what has no end is an outline, marks differ in shape; and all
of it stands in words in the page's table and lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slurm_hooks import story, words
from slurm_hooks.page.markup import Html, element, join
from slurm_hooks.story import Clock, Container, Event, Run, Span

ROWS = 30  # containers that get a row of their own; more are packed into lanes
ROW, LANE, PACKED = 36, 14, 11  # pixels
TOP = 26
NARROWEST = 0.6  # percent: what is short is seen all the same
MOST_MARKS = 200  # of a kind
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800)

# mark → its shape around 0,0; class; what it means
MARKS = {
    "prolog": ("M-1,-7 L7,0 L-1,7 z", "mark", "Prolog"),
    "exec": ("M0,-6 L5,4 L-5,4 z", "mark", "docker exec"),
    "oom": ("M0,-8 L7,0 L0,8 L-7,0 z", "mark bad-mark", "out of memory"),
    "full": ("M-6,-6 H6 V-1 H-6 z M-6,1 H6 V6 H-6 z", "mark bad-mark", "pids limit reached"),
    "fault": ("M0,-7 L2,-2 H7 L3,2 L5,7 L0,4 L-5,7 L-3,2 L-7,-2 H-2 z", "mark bad-mark", "not started as asked"),
    "refused": ("M-5,-5 L5,5 M5,-5 L-5,5", "mark line", "request refused"),
    "left": ("M-6,-6 H6 V6 H-6 z", "mark bad-mark", "left by the job"),
    "ended": ("M-6,0 a6,6 0 1,0 12,0 a6,6 0 1,0 -12,0 z", "mark", "left by the job, ended by us"),
}
BARS = {
    "died": "ended by other than 0 (hatched)",
    "alive": "no end of its own (outline)",
    "done": "ended with 0",
    "pull": "image pulled",
    "hook": "Epilog",
}


@dataclass
class Scale:
    """Time to place; and what was drawn, for the legend."""

    begin: float
    span: float
    drawn: dict[str, None]

    def at(self, when: float) -> float:
        """Percent of the width."""
        return min(max(100 * (when - self.begin) / self.span, 0.0), 100.0)

    def mark(self, kind: str, when: float, y: float, said: str) -> Html:
        """A mark of a moment, in the middle of a lane."""
        self.drawn[kind] = None
        shape, style, _ = MARKS[kind]
        drawn = element("path", element("title", said), d=shape, class_=style)
        return element("svg", drawn, x=f"{self.at(when):.2f}%", y=y, width=1, height=1, overflow="visible")

    def bar(self, kind: str, begin: float, end: float, y: float, height: float, said: str, hatch: str) -> Html:
        """What lasted."""
        self.drawn[kind] = None
        left = min(self.at(begin), 100 - NARROWEST)
        place = {"x": f"{left:.2f}%", "y": y, "width": f"{max(self.at(end) - left, NARROWEST):.2f}%",
                 "height": height, "rx": 2}  # fmt: skip
        over = element("rect", **place, fill=f"url(#{hatch})") if kind == "died" else None
        return element("g", element("title", said), element("rect", class_=f"bar {kind}", **place), over)


def timeline(job: int, run: Run, shown: list[Container], clock: Clock) -> Html:
    """The picture of a run with its legend; `shown`: the containers that are drawn."""
    scale = Scale(run.begin, max(run.until - run.begin, 0.1), {})
    hatch, named = f"hatch-{run.index}", f"name-{run.index}"
    parts: list[Html] = []
    y: float = TOP
    for draw in (_job, _pulls, _refusals):
        if rows := draw(run, scale, y, hatch):
            parts.append(rows)
            y += ROW
    drawn, y = (_rows if len(shown) <= ROWS else _packed)(run, shown, scale, y, hatch)
    parts += [drawn]
    defs = element(
        "defs",
        element("pattern", element("path", d="M0,0 V8", class_="hatch"), id=hatch, width=7, height=8,
                patternUnits="userSpaceOnUse", patternTransform="rotate(45)"),
    )  # fmt: skip
    said = f"{duration(run.until - run.begin)} from {clock(run.begin)}; {len(run.containers)} containers, " + (
        f"{sum(one.failed for one in run.containers)} failed, {len(run.of('refused'))} requests refused. "
        "The table below has the same in words."
    )
    return element(
        "figure",
        element(
            "div",
            element(
                "svg",
                element("title", f"Timeline of job {job}", id=named),
                element("desc", said, id=f"{named}-d"),
                defs, _axis(scale, y), *parts,
                width="100%", height=y, role="img", aria_labelledby=named, aria_describedby=f"{named}-d",
            ),
            class_="drawing",
        ),
        _legend(scale, hatch),
    )  # fmt: skip


def duration(seconds: float) -> str:
    """As a person says it."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def _axis(scale: Scale, height: float) -> Html:
    step = next((step for step in STEPS if scale.span / step <= 5), STEPS[-1])
    step *= max(round(scale.span / step / 5), 1)  # weeks and more
    ticks = []
    for number in range(int(scale.span / step) + 1):
        x = f"{scale.at(scale.begin + number * step):.2f}%"
        anchor = "start" if number == 0 else "middle"
        label = "0" if number == 0 else duration(number * step).replace(".0 s", " s")
        ticks.append(element("line", x1=x, x2=x, y1=TOP - 8, y2=height, class_="grid"))
        if scale.at(scale.begin + number * step) < 97:
            ticks.append(element("text", label, x=x, y=12, text_anchor=anchor, class_="tick"))
    return join(ticks)


def _lane(y: float, name: str, image: str, right: str) -> Html:
    left = [element("tspan", _cut(name, 16 if image else 24), class_="name")]
    if image:
        left.append(element("tspan", f" {_cut(image, 16)}", class_="dim"))
    return join(
        [
            element("text", *left, x=0, y=y + 12),
            element("text", right, x="100%", y=y + 12, text_anchor="end", class_="dim"),
            element("rect", x=0, y=y + 17, width="100%", height=LANE, class_="lane", rx=2),
        ]
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def _job(run: Run, scale: Scale, y: float, hatch: str) -> Html:
    middle = y + 17 + LANE / 2
    drawn = [_lane(y, "Job", "", "" if not run.is_over else "torn down" if run.is_clean else "not clean")]
    if prolog := run.first("prolog"):
        drawn.append(scale.mark("prolog", prolog["time"], middle, f"Prolog: {words.words(prolog)}"))
    for epilog in run.of("epilog")[:1]:
        took = words.number(epilog.get("seconds"))
        said = f"Epilog: {words.words(epilog)}"
        drawn.append(scale.bar("hook", epilog["time"] - took, epilog["time"], y + 17, LANE, said, hatch))
    for kind, names in (("ended", ("ended",)), ("left", ("left", "beside"))):
        for event in run.of(*names)[:MOST_MARKS]:
            drawn.append(scale.mark(kind, event["time"], middle, words.words(event)))
    return join(drawn)


def _pulls(run: Run, scale: Scale, y: float, hatch: str) -> Html | None:
    pulls = run.of("pull")[:MOST_MARKS]
    if not pulls:
        return None
    drawn = [_lane(y, "Pulls", "", f"{len(run.of('pull'))}")]
    for event in pulls:
        took = words.number(event.get("seconds"))
        kind = "died" if event.get("why") else "pull"
        drawn.append(
            scale.bar(kind, event["time"] - took, event["time"], y + 17, LANE, f"Pull: {words.words(event)}", hatch)
        )
    return join(drawn)


def _refusals(run: Run, scale: Scale, y: float, hatch: str) -> Html | None:
    found: list[Event] = run.of("refused")
    if not found:
        return None
    marks = (
        scale.mark("refused", event["time"], y + 17 + LANE / 2, f"Refused: {words.words(event)}")
        for event in found[:MOST_MARKS]
    )
    return join([_lane(y, "Refused", "", f"{len(found)}"), *marks])


def _rows(run: Run, shown: list[Container], scale: Scale, y: float, hatch: str) -> tuple[Html, float]:
    drawn = []
    for one in shown:
        name = one.image.partition("@")[0]
        image = name.rpartition("/")[2] or name
        time = f", {duration(one.seconds(run.until))}" if one.spans else ""
        drawn.append(_lane(y, one.name, image, story.outcome(one, run).partition(",")[0] + time))
        drawn += _spans(one, run, scale, y + 17, LANE, hatch)
        drawn += _marks(one, scale, y + 17 + LANE / 2)
        y += ROW
    return join(drawn), y


def _packed(run: Run, shown: list[Container], scale: Scale, y: float, hatch: str) -> tuple[Html, float]:
    """Each container in the first lane that is free at its begin: few lanes for many short ones."""
    drawn = [element("text", element("tspan", f"{len(shown)} containers", class_="name"), x=0, y=y + 12)]
    y += 18
    free: list[float] = []
    gap = scale.span * NARROWEST / 100
    for one in sorted((one for one in shown if one.spans), key=lambda one: one.spans[0].begin):
        begin, end = one.spans[0].begin, max(_end(span, run) for span in one.spans)
        lane = next((number for number, until in enumerate(free) if until <= begin), len(free))
        free[lane : lane + 1] = [max(end, begin + gap) + gap / 4]
        drawn += _spans(one, run, scale, y + lane * PACKED, PACKED - 2, hatch)
    return join(drawn), y + len(free) * PACKED


def _end(span: Span, run: Run) -> float:
    return run.until if span.end is None else span.end


def _spans(one: Container, run: Run, scale: Scale, y: float, height: float, hatch: str) -> Iterable[Html]:
    said = f"{one.name} ({one.image}): {story.outcome(one, run)}, {duration(one.seconds(run.until))}"
    for span in one.spans:
        kind = "alive" if span.torn_down or span.end is None else "died" if span.exit else "done"
        yield scale.bar(kind, span.begin, _end(span, run), y, height, said, hatch)


def _marks(one: Container, scale: Scale, middle: float) -> Iterable[Html]:
    for when, command in one.execs[:MOST_MARKS]:
        yield scale.mark("exec", when, middle, f"exec: {command}")
    for when, fault in one.faults[:MOST_MARKS]:
        yield scale.mark("fault", when, middle, fault)
    last = one.spans[-1].end if one.spans else None
    if last is not None and one.oom:
        yield scale.mark("oom", last, middle, "processes ended for want of memory")
    elif last is not None and one.own.get("full"):
        yield scale.mark("full", last, middle, "its pids limit was reached")


def _legend(scale: Scale, hatch: str) -> Html:
    entries = []
    for kind in scale.drawn:
        if kind in MARKS:
            shape, style, said = MARKS[kind]
            drawn = element("svg", element("path", d=shape, class_=style, transform="translate(8,8)"), width=16,
                            height=16, aria_hidden="true")  # fmt: skip
        else:
            said = BARS[kind]
            drawn = element(
                "svg", Scale(0, 1, {}).bar(kind, 0, 1, 3, 10, "", hatch), width=22, height=16, aria_hidden="true"
            )
        entries.append(element("span", drawn, said))
    return element("figcaption", join(entries))

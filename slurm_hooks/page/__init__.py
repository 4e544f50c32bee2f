# SPDX-License-Identifier: Apache-2.0
"""A job as one HTML page that needs nothing else: no script, no file beside it, no network. Pure.

Names, images, commands and paths are users' choice, and hostile. Markup is made by `element` alone, which escapes
whatever is not markup of ours already; the page's own policy lets a browser run and load nothing, should that fail.
It is plain ASCII, so that it survives any terminal's or mail's encoding.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from slurm_hooks import __version__, figures, story, words
from slurm_hooks.page import picture
from slurm_hooks.page.markup import Html, element, join
from slurm_hooks.page.style import STYLE
from slurm_hooks.story import BAD, GOING, OK, Clock, Container, Event, Run

MOST = 500  # containers, refusals and events that are shown one by one
SIGNS = {OK: ("&#10003;", "Good: "), BAD: ("!", "Attention: "), GOING: ("&#8230;", "Under way: ")}
FORMS = {"left": "holds the node", "ended": "ended by us", "beside": "told of, not touched"}


def page(job: int, node: str, found: list[Event], records: dict[int, str], now: float, clock: Clock) -> str:
    """The page.

    Args:
        found: the job's events, at least one.
        records: restart count → what the node's record says of that run (story.OPEN or CLOSING), where it has one.
        now: seconds since 1970.
    """
    runs = story.runs(found, records, now)
    user = next((str(event["user"]) for event in found if event.get("user")), "an unknown user")
    _, sentence = story.headline(job, runs[-1], clock)
    title = f"Job {job} of {user} on {node}"
    body = element(
        "main",
        element("h1", f"Job {job}", element("small", f" of {user} on {node}")),
        join(_run(job, run, clock, of=len(runs)) for run in reversed(runs)),
        element("footer", f"slurm-hooks {__version__}, {clock(now)}. For programs: slurm-hooks report {job} --json"),
    )
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy",
                content=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{title}: {sentence}"),
        element("style", Html(STYLE)),
    )  # fmt: skip
    text = "<!DOCTYPE html>\n" + element("html", head, element("body", body), lang="en") + "\n"
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _run(job: int, run: Run, clock: Clock, of: int) -> Html:
    tone, sentence = story.headline(job, run, clock)
    sign, spoken = SIGNS[tone]
    shown = _shown(run.containers)
    heading = "h3" if of > 1 else "h2"
    which = f"Run after {run.restart} restart{'s' * (run.restart > 1)}" if run.restart else "First run"
    return element(
        "section",
        element("h2", f"{which}, begun {clock(run.begin)}", class_="run") if of > 1 else None,
        element(
            "p",
            element("span", Html(sign), class_="sign", aria_hidden="true"),
            element("span", element("span", spoken, class_="spoken"), sentence),
            class_=f"headline {tone}",
        ),
        _facts(run, clock),
        picture.timeline(job, run, shown, clock),
        _containers(run, shown, heading),
        _left(run, clock, heading),
        _refused(run, heading),
        _events(run, clock),
    )


def _shown(every: list[Container]) -> list[Container]:
    """Those that are told one by one: of too many, the ones that failed and the last ones."""
    order = sorted(range(len(every)), key=lambda index: (every[index].failed, index))[-MOST:]
    return [every[index] for index in sorted(order)]


def _facts(run: Run, clock: Clock) -> Html:
    prolog, epilog = run.first("prolog"), (run.of("epilog") or [{}])[-1]
    peaks = [words.whole_numbers(event.get("peaks")) for event in run.of("end", "epilog")]
    memory = max((peak.get("memory", 0) for peak in peaks), default=0)
    processes = max((peak.get("pids", 0) for peak in peaks), default=0)
    rows = {
        "Begun": clock(run.begin),
        "Lasted": picture.duration(run.until - run.begin) + ("" if run.is_over else " so far"),
        "Processes": f"{processes or '?'} at most, of {prolog.get('effective', '?')}",
        "Memory": f"{figures.size(memory)} at most" if memory else "not known",
        "Teardown": f"{words.number(epilog.get('seconds')):.2f} s" if epilog else "not yet",
        "Cgroup": prolog.get("cgroup", "not known"),
    }
    return element("dl", join(element("div", element("dt", name), element("dd", said)) for name, said in rows.items()))


def _containers(run: Run, shown: list[Container], heading: str) -> Html | None:
    if not shown:
        return None
    names = ("Container", "Image", "Outcome", "Seconds", "Peak memory", "Processes", "CPU")
    head = element("tr", join(element("th", name, scope="col", role="columnheader") for name in names), role="row")
    rows = join(_row(one, run, names) for one in shown)
    more = len(run.containers) - len(shown)
    return element(
        "div",
        element(heading, "Containers"),
        element("p", f"{more} more are not shown here; all are in the events (--json).") if more else None,
        element(
            "table",
            element("thead", head, role="rowgroup"),
            element("tbody", rows, role="rowgroup"),
            role="table",
            aria_label="Containers",
        ),
    )


def _row(one: Container, run: Run, names: tuple[str, ...]) -> Html:
    own = one.own
    execs = element("small", f" {len(one.execs)} exec{'s' * (len(one.execs) > 1)}") if one.execs else None
    cells = (
        figures.image(one.image),
        element("span", story.outcome(one, run), class_="failed" if one.failed else ""),
        f"{one.seconds(run.until):.1f}" if one.spans else "-",
        figures.size(own["memory"]) if "memory" in own else "-",
        own.get("pids", "-"),
        f"{own['cpu'] / 1000:.1f} s" if "cpu" in own else "-",
    )
    return element(
        "tr",
        element("th", one.name, execs, scope="row", role="rowheader"),
        join(element("td", cell, data_name=name, role="cell") for cell, name in zip(cells, names[1:], strict=True)),
        role="row",
    )


def _left(run: Run, clock: Clock, heading: str) -> Html | None:
    found = run.of("left", "ended", "beside")
    if not found:
        return None
    items = (
        element(
            "li",
            element("strong", f"{event.get('kind')}: {event.get('what')}"),
            f" - {FORMS[event['event']]} ({event.get('evidence')}), {clock(event['time'])}",
        )
        for event in found[-MOST:]
    )
    return join([element(heading, "What it left"), element("ul", join(items))])


def _refused(run: Run, heading: str) -> Html | None:
    found = story.counted(run.of("refused"))
    if not found:
        return None
    items = (element("li", why, element("strong", f" {often} times") if often > 1 else None) for why, often in found)
    return join([element(heading, "Refused"), element("ul", join(list(items)[:MOST]))])


def _events(run: Run, clock: Clock) -> Html:
    shown = run.events[-MOST:]
    which = (
        f"All {len(shown)} events" if len(shown) == len(run.events) else f"The last {MOST} of {len(run.events)} events"
    )
    return element("details", element("summary", which), element("ol", join(_lines(shown, clock))))


def _lines(shown: Iterable[Event], clock: Clock) -> Iterable[Html]:
    for event in shown:
        yield element(
            "li", element("time", clock(event["time"])), " ", element("b", event["event"]), " ", words.words(event)
        )

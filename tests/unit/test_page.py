# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks report JOB --html`: one page that is whole by itself, and in which nobody but us writes markup."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from slurm_hooks import cli, events, jobs, page
from slurm_hooks.page import picture
from slurm_hooks.page.style import STYLE
from tests.unit.test_jobs import job_of
from tests.unit.test_report import STORY

START = 1_700_000_000
HOSTILE = "\"'></title></style></script><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\u202e\x00\n<!--]]>"


class Seen(HTMLParser):
    """A page as a browser takes it apart: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.odd: list[str] = []  # comments and the like
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Without any text: elements and the names of their attributes."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def story_of(change: Any = lambda value: value, restart: int = 0) -> list[dict[str, Any]]:
    """Events of a job; each text in them changed."""
    return [
        {"time": START + at + 100.0 * restart, "job": 7, "restart": restart, "event": event["event"]}
        | {key: change(value) for key, value in event.items() if key != "event"}
        for at, event in enumerate(STORY)
    ]


def made(found: list[dict[str, Any]], records: dict[int, str] | None = None) -> str:
    return page.page(7, "cn1", found, records or {}, START + 500.0, lambda seconds: f"at {seconds:.0f}")


def and_then(end: str) -> Any:
    """Each text, with an end."""

    def change(value: Any) -> Any:
        if isinstance(value, list):
            return [change(one) for one in value]
        return value + end if isinstance(value, str) else value

    return change


def many(number: int, *, side_by_side: bool = False) -> list[dict[str, Any]]:
    """A job of so many containers, one after the other or all at once; each tenth fails."""
    found = story_of()[:1]
    for at in range(number):
        one = {"job": 7, "restart": 0, "container": f"c{at}", "id": f"{at:012x}", "image": "tools:1"}
        begin = START + (1 if side_by_side else 10 * at)
        found += [
            one | {"time": begin, "event": "create", "pids": 9, "mounts": []},
            one | {"time": begin + 1, "event": "start", "read_back": "as asked"},
            one | {"time": begin + 8, "event": "end", "exit": int(at % 10 == 9), "own": {}, "peaks": {}},
        ]
    over = START + (20 if side_by_side else 10 * number)
    return [*found, {"time": over, "event": "epilog", "job": 7, "restart": 0, "verdict": "clean", "seconds": 1.0}]


def test_whatever_a_user_writes_is_text() -> None:
    benign, attacked = (Seen(made(story_of(and_then(end)))) for end in ("harmless", HOSTILE))
    assert attacked.shape == benign.shape
    assert attacked.odd == [] and attacked.open == []
    assert {tag for tag, _ in attacked.elements}.isdisjoint({"script", "img", "a", "link", "iframe", "object", "use"})
    assert "alert(1)" in "".join(attacked.texts)  # it is there, as what it is


def test_a_text_is_shown_as_it_was_written_but_for_what_is_not_printable() -> None:
    found = story_of(lambda value: "<b>&amp;\u202e\u00e4" if value == "c1" else value)
    assert "<b>&amp;?\u00e4" in Seen(made(found)).texts


def test_it_needs_nothing_else_and_its_own_policy_lets_nothing_in() -> None:
    text = made(story_of(and_then(HOSTILE)))
    seen = Seen(text)
    attributes = {name for _, each in seen.elements for name in each}
    assert attributes.isdisjoint({"src", "href", "xlink:href", "style", "action", "srcdoc"})
    assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"@import|url\(|https?:", STYLE)
    (policy,) = (meta["content"] for meta in seen.all("meta") if "http-equiv" in meta)
    (digest,) = re.findall(r"style-src 'sha256-(.*?)'", policy)
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in style] == [digest]
    assert policy.startswith("default-src 'none';") and "script" not in policy


def test_it_is_ascii_so_that_no_terminal_spoils_it() -> None:
    assert made(story_of(lambda value: f"\u00fc{value}\u2713" if isinstance(value, str) else value)).isascii()


def test_containers_are_told_with_their_figures() -> None:
    seen = Seen(made(story_of()))
    at = seen.texts.index("c1", seen.texts.index("CPU"))
    assert seen.texts[at : at + 8] == [
        "c1", " 1 exec", "img", "exit 137, out of memory, pids limit reached", "4.0", "30 MiB", "16", "2.5 s"
    ]  # fmt: skip
    names = [td["data-name"] for td in seen.all("td")][:6]
    assert names == ["Image", "Outcome", "Seconds", "Peak memory", "Processes", "CPU"]


@pytest.mark.parametrize(
    "found",
    [story_of(), story_of()[:5], many(1), many(0), many(200), many(200, side_by_side=True),
     story_of() + story_of(restart=1), story_of(restart=1), [{"time": START, "event": "oom", "job": 7, "restart": 0}],
     [{"time": START, "event": "epilog", "job": 7}], [{"time": START + 1e18, "event": "refused", "why": "x"}]],
    ids=["all", "no epilog", "one", "none", "200", "200 at once", "requeued", "later", "oom", "epilog", "far"],
)  # fmt: skip
def test_every_job_makes_a_page(found: list[dict[str, Any]]) -> None:
    text = made(found)
    seen = Seen(text)
    ids = [each["id"] for _, each in seen.elements if "id" in each]
    assert len(set(ids)) == len(ids) and seen.open == []
    for drawing in (each for each in seen.all("svg") if each.get("role") == "img"):
        assert {drawing["aria-labelledby"], drawing["aria-describedby"]} <= set(ids)
    assert set(re.findall(r"url\(#(.*?)\)", text)) <= set(ids)
    inside = [float(each[name][:-1]) for each in seen.all("rect") for name in ("x", "width") if each[name][-1] == "%"]
    assert all(0 <= percent <= 100 for percent in inside)
    assert all(float(each["x"].rstrip("%")) + float(each["width"].rstrip("%")) <= 100.01
               for each in seen.all("rect") if each["x"][-1] == "%")  # fmt: skip


def test_each_container_has_a_bar_and_those_that_failed_are_hatched() -> None:
    for found in (many(20), many(200), many(60, side_by_side=True)):
        bars = [each for each in Seen(made(found)).all("rect") if "hatch" in each.get("fill", "") or "class" in each]
        containers = len([event for event in found if event["event"] == "create"])
        kinds = [each.get("class", "hatch") for each in bars]
        # One of each is the legend's.
        assert kinds.count("bar done") == containers - containers // 10 + 1
        assert kinds.count("bar died") == kinds.count("hatch") == containers // 10 + 1


def test_many_containers_take_few_lanes() -> None:
    def height(found: list[dict[str, Any]]) -> float:
        return next(float(each["height"]) for each in Seen(made(found)).all("svg") if each.get("role") == "img")

    assert height(many(200)) < height(many(20)) < height(many(30))
    assert height(many(64, side_by_side=True)) < 1000


def test_what_lies_in_a_lane_does_not_overlap() -> None:
    places: dict[str, list[tuple[float, float]]] = {}
    for each in Seen(made(many(200))).all("rect"):
        if each.get("class", "") in ("bar done", "bar died") and each["x"][-1] == "%":
            places.setdefault(each["y"], []).append((float(each["x"][:-1]), float(each["width"][:-1])))
    assert len(places.pop("3")) == 2  # the legend's
    assert sum(map(len, places.values())) == 200
    for lane in places.values():
        lane.sort()
        assert all(x + width <= after + 0.02 for (x, width), (after, _) in itertools.pairwise(lane))


def test_of_very_many_those_that_failed_are_shown() -> None:
    text = made(many(3000))
    assert len(Seen(text).all("tr")) == page.MOST + 1
    assert "2500 more are not shown here" in text and text.count('class="failed"') == 300
    assert len(text) < 1_000_000


def test_a_text_without_end_does_not_make_a_page_without_end() -> None:
    assert len(made(story_of(lambda value: value * 100_000 if isinstance(value, str) else value))) < 500_000


def test_an_image_is_named_short_in_the_picture_and_by_its_digest_in_the_table() -> None:
    texts = Seen(made(story_of(lambda value: f"reg.site/a/tool@sha256:{'ab' * 32}" if value == "img" else value))).texts
    assert " tool" in texts and "reg.site/a/tool@sha256:abababababab" in texts


def test_the_runs_of_a_requeued_job_are_told_apart_the_last_one_first() -> None:
    texts = Seen(made(story_of() + story_of(restart=1))).texts
    assert texts.index(f"Run after 1 restart, begun at {START + 100}") < texts.index(f"First run, begun at {START}")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
     (5400, "1 h 30 min"), (200_000, "2 d 7 h"), (172_800, "2 d")],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert picture.duration(seconds) == words


def luminance(colour: str) -> float:
    """As WCAG 2 has it."""
    digits = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(mode: int) -> None:
    found = re.findall(r":root\{(.*?)\}", STYLE, re.DOTALL)[mode]
    colours = {name: luminance(colour) for name, colour in re.findall(r"--([a-z-]+):#([0-9a-f]+)", found)}
    pairs = [("ink", "paper"), ("soft", "paper"), ("bad", "paper"), ("ink", "lane"), ("soft", "lane"),
             ("ink", "ok-bg"), ("ink", "bad-bg"), ("ink", "going-bg"), ("ok", "ok-bg"), ("bad", "bad-bg"),
             ("going", "going-bg")]  # fmt: skip
    for one, two in pairs:
        low, high = sorted((colours[one], colours[two]))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (one, two)
    for bar in ("fill", "bad", "going"):  # WCAG asks 3 of what is no text
        low, high = sorted((colours[bar], colours["lane"]))
        assert (high + 0.05) / (low + 0.05) >= 3, bar


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    jobs.create(job_of())
    events.record("prolog", job=4711, user="ada", effective=10)
    assert cli.main(["report", "4711", "--html"]) == 0
    seen = Seen(capsys.readouterr().out)
    assert any("Running since" in text for text in seen.texts)
    assert "Job 4711" in seen.texts


def test_a_page_is_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--node", "--html"]) == 1
    assert "a page is of one job" in capsys.readouterr().err
    assert cli.main(["report", "8", "--html"]) == 1
    with pytest.raises(SystemExit):
        cli.main(["report", "8", "--html", "--json"])

# SPDX-License-Identifier: Apache-2.0
"""Filters of lists, events and prune: whatever a client asks, it is of the job's own containers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from slurm_hooks.broker import answers, filters
from slurm_hooks.errors import BadRequest, NotFound, Refused

PREFIX = answers.prefix(4711, 0)
MINE = "slurm-hooks.job=4711-0-0123abcd"


def id_of(name: str) -> str:
    """The job has one container, called `c`."""
    if name != "c":
        raise NotFound(f"No such container: {name}")
    return "c" * 64


def listed(asked: Any) -> filters.Filters:
    return filters.for_list(filters.decoded(json.dumps(asked)), MINE, PREFIX, id_of)


def watched(asked: Any) -> filters.Filters:
    return filters.for_events(filters.decoded(json.dumps(asked)), MINE, PREFIX)


@pytest.mark.parametrize("asked", [{}, None, [], "x", 1, {"label": []}, {"label": {}}])
def test_a_list_is_always_of_the_jobs_own(asked: Any) -> None:
    assert listed(asked) == {"label": [MINE]}


@pytest.mark.parametrize("label", [{"a=b": True}, ["a=b"]], ids=["of today", "of old"])
def test_a_label_filter_is_added_to_ours(label: Any) -> None:
    assert listed({"label": label}) == {"label": ["a=b", MINE]}


def test_a_label_of_another_job_makes_an_empty_list_not_another_list() -> None:
    # moby wants every label of the list on a container.
    assert listed({"label": ["slurm-hooks.job=1-0-0"]})["label"] == ["slurm-hooks.job=1-0-0", MINE]


def test_a_value_that_is_switched_off_is_no_filter() -> None:
    assert listed({"status": {"running": True, "exited": False}})["status"] == ["running"]


@pytest.mark.parametrize("text", ["{", "\x00", '{"label": 1}', '{"label": [1]}', '{"label": "x"}', "[" * 100_000])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        filters.decoded(text)


@pytest.mark.parametrize("asked", [{"Label": ["x"]}, {"nope": ["x"]}, {"until": ["1h"]}, {"label!": ["x"]}])
def test_a_filter_that_moby_does_not_have_is_refused_in_its_words(asked: Any) -> None:
    for ask in (listed, watched):
        with pytest.raises(BadRequest, match=r"^invalid filter '"):
            ask(asked)


@pytest.mark.parametrize("name", filters.LISTED)
def test_every_other_filter_of_a_list_goes_as_it_is(name: str) -> None:
    assert listed({name: ["x"]})[name][0] == "x"


@pytest.mark.parametrize("name", filters.REFERENCES)
def test_before_and_since_name_a_container_of_the_jobs(name: str) -> None:
    assert listed({name: ["c"]})[name] == ["c" * 64]
    with pytest.raises(NotFound, match=r"^No such container: theirs$"):
        listed({name: ["theirs"]})


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("^mine$", ["mine"]),
        ("^/mine$", ["mine"]),
        ("/mine", ["mine"]),
        ("mine", ["mine", "another-mine"]),
        ("slurm", []),
        ("4711", []),
        (".", ["mine", "another-mine"]),
        ("^another|^mine$", ["mine", "another-mine"]),
        ("^mi(ne|nus)$", ["mine"]),
        ("x|r-m[i|x]ne", ["another-mine"]),
        (r"x\|y|^mine", ["mine"]),
        ("^", ["mine", "another-mine"]),
    ],
)
def test_a_name_is_searched_behind_our_prefix(expression: str, found: list[str]) -> None:
    (sent,) = listed({"name": [expression]})["name"]
    assert [name for name in ("mine", "another-mine") if re.search(sent, f"/{PREFIX}{name}")] == found
    assert not re.search(sent, "/slurm-4711-1.mine")


def test_a_dot_of_our_prefix_is_a_dot() -> None:
    (expression,) = listed({"name": ["^c"]})["name"]
    assert not re.search(expression, "/slurm-4711-0Xc")


@pytest.mark.parametrize("asked", [{}, {"type": ["container"]}, {"type": ["container", "image"]}])
def test_events_are_of_the_jobs_containers(asked: Any) -> None:
    assert watched(asked) == {"type": ["container"], "label": [MINE]}


def test_events_of_a_container_are_asked_by_id_and_by_name() -> None:
    assert watched({"container": ["c"], "event": ["die"]})["container"] == ["c", f"{PREFIX}c"]


@pytest.mark.parametrize("asked", [{"type": ["image"]}, *({name: ["x"]} for name in filters.FOREIGN)])
def test_events_of_anything_else_never_come(asked: Any) -> None:
    assert watched(asked) == {"type": ["container"], "label": [MINE, "slurm-hooks.job=none"]}


def test_prune_is_of_the_jobs_containers_that_do_not_run() -> None:
    wanted = filters.for_prune({"label": ["a"]}, MINE)
    assert wanted == {"status": ["created", "exited", "dead"], "label": ["a", MINE]}
    with pytest.raises(Refused, match="until"):
        filters.for_prune({"until": ["1h"]}, MINE)


@pytest.mark.parametrize(
    ("wanted", "bears"),
    [([], False), (["a"], True), (["a=1"], True), (["a=2"], False), (["a", "b"], False), (["a=1", "a"], True)],
)
def test_labels_are_compared_as_moby_does(wanted: list[str], bears: bool) -> None:  # noqa: FBT001
    assert filters.bears_all({"a": "1"}, wanted) is bears

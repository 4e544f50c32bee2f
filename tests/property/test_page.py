# SPDX-License-Identifier: Apache-2.0
"""The page of a job holds for whatever is in its events: it is made, and its markup is ours alone."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.test_page import Seen, made, story_of

facts = st.text() | st.integers() | st.floats() | st.none() | st.lists(st.text(), max_size=2) | st.dictionaries(
    st.sampled_from(["pids", "memory", "cpu", "oom", "full", "x"]), st.integers() | st.text() | st.floats(), max_size=3
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1), st.integers(min_value=0, max_value=5))
@example("/", 0)  # an image's name of which nothing was left
def test_no_text_becomes_markup(text: str, restart: int) -> None:
    mine = Seen(made(story_of(lambda value: f"{value}{text}" if isinstance(value, str) else value, restart)))
    plain = Seen(made(story_of(lambda value: f"{value}." if isinstance(value, str) else value, restart)))
    assert mine.shape == plain.shape and mine.odd == []


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(min_value=0, max_value=70), min_size=1, max_size=4), facts)
def test_no_fact_of_another_kind_keeps_the_page_from_being_made(which: set[int], other: object) -> None:
    number = itertools.count()
    seen = Seen(made(story_of(lambda value: other if next(number) in which else value)))
    assert seen.open == [] and seen.odd == []

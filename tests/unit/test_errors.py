# SPDX-License-Identifier: Apache-2.0
"""An error is one line: what, why, what to do."""

from __future__ import annotations

import pytest

from slurm_hooks.errors import HooksError, unforeseen


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (("what",), "what"),
        (("what", "why"), "what: why"),
        (("what", "why", "Do it."), "what: why. Do it."),
        (("what", "why.", "Do it."), "what: why. Do it."),
        (("what", "", "Do it."), "what. Do it."),
    ],
)
def test_an_error_is_one_line(parts: tuple[str, ...], line: str) -> None:
    assert str(HooksError(*parts)) == line


@pytest.mark.parametrize("hostile", ["\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\udcff", "\0"], ids=repr)
def test_no_control_character_gets_into_a_log_or_a_terminal(hostile: str) -> None:
    assert str(HooksError("what", f"a{hostile}b")) == "what: a?b"


def test_what_is_unforeseen_is_told_in_one_line_with_its_type() -> None:
    assert unforeseen(ValueError("a\nb\x1b[2J")) == "ValueError: a?b?[2J"

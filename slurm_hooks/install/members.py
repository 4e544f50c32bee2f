# SPDX-License-Identifier: Apache-2.0
"""A JSON object as a text: a member is set or taken away, the others keep their bytes and their order. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

BLANK = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()
EMPTY = "{\n}\n"  # dockerd takes an empty file for an empty object


class Member(NamedTuple):
    """Where a member stands: from its name to the end of its value."""

    name: str
    start: int
    value: int
    end: int


def read(text: str) -> dict[str, Any]:
    """What the text says; of a name that comes twice the last, as in Go. Raises ValueError: it is no object."""
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object")
    return said


def with_member(text: str, name: str, value: Any) -> str:
    """A member of this name and value: in its place, or as the last one. Of a text that `read` takes."""
    said = json.dumps(value, ensure_ascii=False)
    found = _members(text)
    here = [member for member in found if member.name == name]
    if here:
        return text[: here[-1].value] + said + text[here[-1].end :]
    first = text.index("{") + 1
    if not found:
        return f'{text[:first]}\n  "{name}": {said}\n{text[first:].lstrip()}'
    lead = text[first : found[0].start] or " "  # as the first is set apart
    return f'{text[: found[-1].end]},{lead}"{name}": {said}{text[found[-1].end :]}'


def without_member(text: str, name: str) -> str:
    """The text without members of this name."""
    found = _members(text)
    for at, member in enumerate(found):
        if member.name == name:
            if at:
                start, end = found[at - 1].end, member.end
            else:
                start, end = member.start, found[1].start if len(found) > 1 else member.end
            return without_member(text[:start] + text[end:], name)
    return text


def _members(text: str) -> list[Member]:
    found: list[Member] = []
    at = _behind_blank(text, text.index("{") + 1)
    while text[at] != "}":
        name, colon = DECODER.raw_decode(text, at)
        value = _behind_blank(text, text.index(":", colon) + 1)
        _, end = DECODER.raw_decode(text, value)
        found.append(Member(name, at, value, end))
        at = _behind_blank(text, end)
        if text[at] == ",":
            at = _behind_blank(text, at + 1)
    return found


def _behind_blank(text: str, at: int) -> int:
    match = BLANK.match(text, at)
    assert match  # it matches nothing, too
    return match.end()

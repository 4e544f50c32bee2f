# SPDX-License-Identifier: Apache-2.0
"""The hooks' JSON is JSON: held against the standard library's own, by its C code and without it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurm_hooks import quickjson

VALUES: list[Any] = [
    {"a": [1, 2.5, None, True, 'u\n"x\u00fc'], "b": {"c": {}}, "d": []},
    [],
    "",
    -(2**63),
    {"\u2028": "\x00\x1f\x7f"},
]
BAD = ["", " ", "{", "nope", "{} {}", "[1,]", '"\n"', '{"a":1,}', "\x00"]


@pytest.fixture(params=["C", "json"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways; the C code must be there on the interpreters that we support."""
    if request.param == "json":
        monkeypatch.setattr(quickjson, "_scan", None)
        monkeypatch.setattr(quickjson, "_encode", None)
    assert (quickjson._scan is None) == (request.param == "json")
    return str(request.param)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_writes_and_reads_what_json_does(by: str, value: Any) -> None:
    assert quickjson.dumps(value) == json.dumps(value)
    assert quickjson.loads(quickjson.dumps(value)) == value


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_what_is_not_json_is_a_value_error(by: str, text: str) -> None:
    with pytest.raises(ValueError):
        quickjson.loads(text)


def test_what_json_does_not_know_is_written_as_text(by: str) -> None:
    assert quickjson.dumps({"why": ValueError("x")}) == '{"why": "x"}'

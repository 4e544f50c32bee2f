# SPDX-License-Identifier: Apache-2.0
"""docs/security.md says of each row what shows it: that is there, and the rows are those that are asked."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.cluster.yardsticks import CONTAINER, DAEMON, EXCEPTIONS
from tests.unit.policy import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:knobs|broker|cgroups)/\w+\.py)`", PAGE)))
TABLE = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if re.match(r"\| (PSS|CIS) ", line)
]
ADVISORIES = [line for line in PAGE.splitlines() if re.match(r"\| (runc|containerd|moby)", line)]


@cache
def functions(path: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", (ROOT / path).read_text(), re.MULTILINE))


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_a_test_that_the_page_names_is_there(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert not name or name in functions(path)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_the_page_names_is_there(path: str) -> None:
    assert (ROOT / "slurm_hooks" / path).is_file()


def test_the_yardsticks_rows_are_those_that_are_asked() -> None:
    assert [row[0] for row in TABLE] == [*CONTAINER, *DAEMON]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_row_names_the_test_that_shows_it(row: list[str]) -> None:
    assert len(row) == 5
    assert re.search(r"`tests/\w+/\w+\.py::test_\w+`", row[4])


def test_an_exception_is_said_to_be_one() -> None:
    assert {row[0] for row in TABLE if "Exception" in row[3]} == set(EXCEPTIONS)


@pytest.mark.parametrize("line", ADVISORIES, ids=lambda line: line.split(" | ")[1])
def test_an_advisory_has_a_verdict(line: str) -> None:
    verdict = line.split(" | ")[3]
    assert re.match(r"stopped|not reached|\*\*not (stopped|looked into)\*\*", verdict)
    assert re.fullmatch(
        r"(CVE-\d{4}-\d{4,6}|GHSA(-\w{4}){3})(, (CVE-\d{4}-\d{4,6}|GHSA(-\w{4}){3}))*", line.split(" | ")[1]
    )

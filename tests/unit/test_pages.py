# SPDX-License-Identifier: Apache-2.0
"""Man pages and completion: they are as the program is now, and say what it can."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slurm_hooks.settings import Settings
from tests.pages import COMPLETION, PAGES, texts
from tests.pages.verbs import verbs
from tests.unit.policy import ROOT
from tests.unit.test_settings import defaults

TEXTS = texts()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_as_the_program_is_now(path: Path) -> None:
    assert path.read_text() == TEXTS[path], "run: make pages"


def test_each_verb_has_a_page_and_no_other_has() -> None:
    pages = {path.name for path in PAGES.iterdir()}
    assert pages == {"slurm-hooks.1", "slurm-hooks.toml.5", *(f"slurm-hooks-{verb}.1" for verb in verbs())}


@pytest.mark.parametrize("name", defaults(Settings()))
def test_each_setting_is_in_its_section_of_the_page(name: str) -> None:
    table, _, key = name.rpartition(".")
    if not table:  # a table of the site's own names
        table, key = f"{name}.NAME", "reach"
    (_, section) = (PAGES / "slurm-hooks.toml.5").read_text().split(f".SH [{table}]\n")
    assert f"\\fB{key}\\fR = " in section.partition(".SH")[0]


def completed(*words: str, where: Path = ROOT) -> list[str]:
    """What bash offers for the last word of a command line."""
    ours = COMPLETION.read_text().replace("/run/slurm-hooks", str(where))
    asks = 'COMP_WORDS=("$0" "$@") COMP_CWORD=$#; _slurm_hooks; printf "%s\\n" "${COMPREPLY[@]}"'
    line = ["bash", "-c", ours + asks, "slurm-hooks", *words]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=where).stdout.split()


def test_verbs_are_completed() -> None:
    assert completed("") == [*verbs(), "--help", "--version"]
    assert completed("po") == ["policy"]


def test_options_are_completed_by_their_verb() -> None:
    assert completed("sweep", "--") == ["--help", "--dry-run", "--json", "--older-than"]
    assert completed("report", "--h") == ["--help", "--html"]
    assert completed("check", "--image", "") == []


def test_files_are_completed_where_one_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "other.toml").touch()
    assert completed("config", "o", where=tmp_path) == ["other.toml"]
    assert completed("metrics", "--output", "o", where=tmp_path) == ["other.toml"]


def test_jobs_are_completed_by_their_records(tmp_path: Path) -> None:
    for record in ("jobs/4711-0-b00t", "jobs/815-1-b00t", "gone/4712-0-b00t"):
        (tmp_path / record).mkdir(parents=True)
    assert completed("report", "47", where=tmp_path) == ["4711", "4712"]
    assert completed("epilog", "", where=tmp_path / "jobs") == []

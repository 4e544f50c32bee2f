# SPDX-License-Identifier: Apache-2.0
"""docs/ is a site whose links lead somewhere; a command in it is run, or says why not (docs/writing.md)."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from slurm_hooks.settings import Settings
from tests.docs.pages import ELSEWHERE, NODES, SHELLS, Block, Unreadable, agrees, blocks, pages, scenes
from tests.labs.cells import SUITES
from tests.unit.policy import ROOT


def of(page: Path) -> list[Block]:
    return [block for block in blocks(page) if isinstance(block, Block)]


def written(at: Path, text: str) -> Path:
    page = at / "page.md"
    page.write_text(text)
    return page


def test_the_site_is_made_and_no_link_leads_nowhere(tmp_path: Path) -> None:
    # Not --quiet: what is not logged is no warning to --strict.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("index.html", "boundary.html", "operators.html", "search/search_index.json"):
        assert (tmp_path / name).is_file(), name
    for page in tmp_path.glob("*.html"):
        loads = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', page.read_text())
        assert not loads, f"{page.name} asks another host: {loads}"


def test_links_of_the_pages_at_the_top_lead_to_files() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "NEWS.md"):
        for link in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / link).is_file(), f"{name}: {link}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_each_command_is_run_or_says_why_not(page: Path) -> None:
    run = [block.line for scene in scenes(page) for block in scene.blocks]
    for block in of(page):
        if block.info == "console":
            assert block.commands, f"{page.name}:{block.line}: no prompt"
            assert "?" not in block.lines, f"{page.name}:{block.line}: what is printed was not filled in"
        if block.info in ("console", *SHELLS):
            marked = any(block.marks.get(mark) for mark in ELSEWHERE)
            assert block.line in run or marked, f"{page.name}:{block.line}: neither run nor marked"
        named = {suite for mark in NODES for suite in block.marks.get(mark, "").split()}
        assert named <= set(SUITES), f"{page.name}:{block.line}: no suite"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_configuration_that_is_shown_is_one(page: Path) -> None:
    for block in of(page):
        if block.info == "toml":
            msgspec.convert(tomllib.loads("\n".join(block.lines)), Settings)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_code_of_ours_that_is_shown_is_in_the_file(page: Path) -> None:
    for block in of(page):
        if path := block.marks.get("of"):
            assert "\n".join(block.lines) in (ROOT / path).read_text(), f"{page.name}:{block.line}"


def test_each_make_in_the_docs_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (*pages(), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        said = re.findall(r"(?:^ *(?:[$#] )?|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)
        assert set(said) <= targets, f"{page.name}: {set(said) - targets}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Text.\n\n    make test\n", "code by indentation"),
        ("```\nmake test\n```\n", "without a word"),
        ("<!-- not run: no -->\n\nText.\n", "no block below"),
        ("```console\n$ true\n", "without an end"),
        ("1. Step:\n\n   more\n", "indented by four"),
        ("1. Step:\n\n    more\n2. Next\n", "a blank line before"),
    ],
)
def test_a_page_that_hides_a_command_is_not_read(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Unreadable, match=complaint):
        list(blocks(written(tmp_path, text)))


PAGE = """<!-- file: job.sh -->
```bash
echo one
```
1. In a list:

    <!-- figures vary -->
    ```console
    ann@login$ sbatch job.sh
    Submitted batch job 7
    # cat \\
    > /etc/hostname
    ```

<!-- not run: why -->
```console
$ reboot
```
<!-- node: GPUs -->
<!-- job: --mem=100 -->
```console
$ true
```
"""


def test_a_page_is_read_as_it_is_written(tmp_path: Path) -> None:
    first, second = scenes(written(tmp_path, PAGE))
    job, submitted = first.blocks
    assert (job.marks, job.lines, first.job, first.node) == ({"file": "job.sh"}, ["echo one"], "", "")
    assert [(c.who, c.text, c.says) for c in submitted.commands] == [
        ("login", "sbatch job.sh", ["Submitted batch job 7"]),
        ("root", "cat \\\n/etc/hostname", []),
    ]
    assert "figures vary" in submitted.marks
    assert (second.job, second.node, [c.who for b in second.blocks for c in b.commands]) == (
        "--mem=100", "GPUs", ["job"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("a  b", "a b\n"),
        ("…\nend", "one\ntwo\nend\n"),
        ("…\nend", "end\n"),
        ("took … s", "took 1.2 s\n"),
    ],
)
def test_output_agrees_with_what_is_shown(shown: str, said: str) -> None:
    assert agrees(shown.split("\n"), said)


@pytest.mark.parametrize(
    ("shown", "said"),
    [("a b", "a c\n"), ("uid=1001", "uid=0\n"), ("…\nend", "one\n"), ("one", "one\ntwo\n"), ("one\ntwo", "one\n")],
)
def test_output_that_is_not_as_shown_is_told(shown: str, said: str) -> None:
    assert not agrees(shown.split("\n"), said)


def test_figures_vary_where_the_page_says_so_and_words_do_not() -> None:
    shown = ["took 1.2 s, c9471dc83ae"]
    assert agrees(shown, "took 10.3 s, 0b12345678f\n", figures_vary=True)
    assert not agrees(shown, "took 10.3 s, 0b12345678f\n")
    assert not agrees(shown, "took long, 0b12345678f\n", figures_vary=True)
    assert not agrees(["uid=1001(ann)"], "uid=0(root)\n", figures_vary=True)

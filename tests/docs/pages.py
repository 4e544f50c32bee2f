# SPDX-License-Identifier: Apache-2.0
"""A page of docs/ as what is to be run: its blocks of code, and what comments say of them (docs/writing.md).

Pure: tests/unit/test_docs.py looks at the pages with it, tests/cluster/test_docs.py runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SHELLS = ("sh", "bash", "shell")  # a file of commands: it is run as a file, or says why it is not
FENCE = re.compile(r"( *)```(\S*)$")
NODES = ("typed on nodes of", "moved on nodes of", "taken off nodes of")  # with the suites that they are of
ELSEWHERE = ("not run", *NODES)  # marks of a block that tests/cluster/test_docs.py leaves out
MARK = re.compile(rf" *<!-- ({'|'.join(ELSEWHERE)}|file|of|figures vary|job|node)(?:: (.+))? -->$")
ITEM = re.compile(r" *([-*]|\d+\.) ")
PROMPT = re.compile(r"(ann@login\$|\$|#) (.*)")
WHO = {"ann@login$": "login", "$": "job", "#": "root"}


class Unreadable(ValueError):
    """A page that does not keep the rules; the text names the page and the line."""


@dataclass
class Command:
    """What one prompt stands before."""

    line: int  # of the page, from 1
    who: str  # "login": the user where there is no job; "job": in the job; "root": on the node
    text: str
    typed: list[str]  # the same as the page has it
    says: list[str] = field(default_factory=list)  # none: not looked at, and it has to succeed


@dataclass
class Block:
    """A block of code."""

    line: int  # of the page, from 1: its fence
    indent: str
    info: str
    lines: list[str]
    marks: dict[str, str] = field(default_factory=dict)  # of the comments right above it
    printed: list[str] = field(default_factory=list)  # its lines as a run had them

    @property
    def commands(self) -> list[Command]:
        """Of a console block; a line that begins with `> ` goes on with the command before it."""
        found: list[Command] = []
        for number, line in enumerate(self.lines, self.line + 1):
            if prompt := PROMPT.fullmatch(line):
                found.append(Command(number, WHO[prompt[1]], prompt[2], [line]))
            elif not found:
                raise Unreadable(f"line {number}: output before a command")
            elif line.startswith("> ") and not found[-1].says:
                found[-1].text += f"\n{line[2:]}"
                found[-1].typed.append(line)
            else:
                found[-1].says.append(line)
        return found


@dataclass
class Scene:
    """What is typed one after the other, on one node and in at most one job."""

    page: Path
    line: int
    node: str = ""  # what the node needs, "" for one as installed
    job: str = ""  # options of sbatch
    blocks: list[Block] = field(default_factory=list)


def blocks(page: Path) -> Iterator[Block | tuple[str, str, int]]:
    """The blocks of a page, and between them what `job` and `node` say of all that follows. Raises Unreadable."""
    marks: dict[str, str] = {}
    fence: Block | None = None
    before = ""
    for number, line in enumerate(page.read_text().split("\n"), 1):
        if fence is not None:
            if line.strip() == "```":
                yield fence
                fence = None
            else:
                fence.lines.append(line.removeprefix(fence.indent))
        elif mark := MARK.fullmatch(line):
            if mark[1] in ("job", "node"):
                yield mark[1], mark[2] or "", number
            else:
                marks[mark[1]] = mark[2] or ""
        elif begin := FENCE.fullmatch(line):
            if not begin[2]:
                raise Unreadable(f"{page.name}:{number}: a block without a word of what it is (console, toml, text, …)")
            fence = Block(number, begin[1], begin[2], [], marks)
            marks = {}
        elif line.startswith("    ") and not before.strip() and not ITEM.match(line):
            # In a step of a list it is a paragraph; else Markdown would make it code that nobody has marked.
            if not _in_a_list(page, number):
                raise Unreadable(f"{page.name}:{number}: code by indentation; put it between ``` fences")
        elif line.strip():
            if marks:
                raise Unreadable(f"{page.name}:{number}: a comment for a block, and no block below it")
            if re.match(r" {1,3}\S", line) and not before.strip():
                raise Unreadable(f"{page.name}:{number}: what goes on in a list is indented by four")
            if ITEM.match(line) and before.startswith("    "):
                raise Unreadable(f"{page.name}:{number}: a blank line before it, or it is no item of the list")
        before = line
    if fence is not None:
        raise Unreadable(f"{page.name}:{fence.line}: a block without an end")


def _in_a_list(page: Path, number: int) -> bool:
    """Is the last line above that is not indented an item of a list?"""
    for line in reversed(page.read_text().split("\n")[: number - 1]):
        if line and not line.startswith(" "):
            return ITEM.match(line) is not None
    return False


def scenes(page: Path) -> list[Scene]:
    """What of a page is run, in order. Raises Unreadable."""
    found = [Scene(page, 1)]
    for block in blocks(page):
        if isinstance(block, tuple):
            kind, value, line = block
            node = value if kind == "node" else found[-1].node
            found.append(Scene(page, line, node, value if kind == "job" else ""))
        elif block.marks.keys().isdisjoint(ELSEWHERE) and (block.info == "console" or "file" in block.marks):
            found[-1].blocks.append(block)
    return [scene for scene in found if scene.blocks]


def pages() -> list[Path]:
    """All of docs/."""
    return sorted(DOCS.glob("*.md"))


def agrees(shown: list[str], said: str, *, figures_vary: bool = False) -> bool:
    """Does a command's output look as the page shows it?

    `…` stands for any text within a line; alone on a line, for any lines. Blanks count as one. With `figures_vary` a
    number stands for any number, and what looks like an id for any id.
    """
    wanted = ""
    for line in shown:
        if line.strip() == "…":
            wanted += r"(?:.*\n)*?"
            continue
        parts = []
        for part in " ".join(line.split()).split("…"):
            quoted = re.escape(part)
            if figures_vary:
                quoted = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", "<id>", quoted)
                quoted = re.sub(r"\d+", r"\\d+", quoted).replace("<id>", "[0-9a-f]+")
            parts.append(quoted)
        wanted += ".*".join(parts) + r"\n"
    text = "".join(" ".join(line.split()) + "\n" for line in said.rstrip().split("\n"))
    return re.fullmatch(wanted.replace(r"\ ", " "), text) is not None

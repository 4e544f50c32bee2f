# SPDX-License-Identifier: Apache-2.0
"""The few words of man(7) that the pages need, and what may stand in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from slurm_hooks import __version__

MARKS = re.compile(r"`([^`]+)`|\[([^\]]+)\]\([^)]+\)")  # of Markdown: a word of the program's, a link


def plain(text: str) -> str:
    """Text that troff(1) takes for nothing else: hyphens that can be copied, no line that begins a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("…", "\\&...")
    return f"\\&{text}" if text.startswith(".") else text


def marked(text: str) -> str:
    """A line of Markdown: what is in backquotes is bold, of a link its words are left."""
    parts, at = [], 0
    for found in MARKS.finditer(text):
        parts += [plain(text[at : found.start()]), bold(found[1]) if found[1] else plain(found[2])]
        at = found.end()
    line = "".join([*parts, plain(text[at:])])
    return f"\\&{line}" if line.startswith(".") else line


def bold(text: str) -> str:
    """A word to be typed as it is."""
    return f"\\fB{plain(text)}\\fR"


def slanted(text: str) -> str:
    """A word in the place of another."""
    return f"\\fI{plain(text)}\\fR"


def section(title: str, *paragraphs: str) -> str:
    """A section of paragraphs that are troff already."""
    return f".SH {title}\n" + "\n.PP\n".join(paragraphs) + "\n"


def items(pairs: Iterable[tuple[str, str]]) -> str:
    """What is named, and what is said of it below."""
    return "\n".join(f".TP\n{name}\n{text}" for name, text in pairs)


def example(*lines: str) -> str:
    """Lines as they are typed."""
    return ".RS 4\n.nf\n" + "\n".join(map(plain, lines)) + "\n.fi\n.RE"


def page(name: str, number: int, what: str, *sections: str) -> str:
    """A whole page. No date: it is of this version, and the same whenever it is made."""
    head = (
        '.\\" SPDX-License-Identifier: Apache-2.0\n.\\" Made by `make pages`.\n'
        f'.TH "{name.upper()}" "{number}" "" "slurm-hooks {__version__}" "slurm-hooks"\n'
    )
    return head + section("NAME", f"{plain(name)} \\- {plain(what)}") + "".join(sections)

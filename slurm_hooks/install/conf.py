# SPDX-License-Identifier: Apache-2.0
"""slurm.conf as a text: a value is replaced where it stands, a line added, all else keeps its bytes. Pure.

Read as Slurm reads it (parse_config.c, 22.05 to 26.05): a comment ends at each line's end before a backslash joins it
with the next; one key a line, those behind it belong to its record (NodeName=… CPUs=…); `Include` at the first column;
keys in any case; of a key that is no list the latest line holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

SPACE = " \t\n\v\f\r"  # isspace(3)
KEY = re.compile(
    rf'[{SPACE}]*([A-Za-z0-9_.]+)[{SPACE}]*[-*+/]?=[{SPACE}]*(?:"([^"]*)"(?=[{SPACE}]|\Z)|([^{SPACE}]+))', re.ASCII
)
Reader = Callable[[str], str | None]  # a path → its text; None: it cannot be read


class Entry(NamedTuple):
    """A line that sets a key."""

    key: str
    value: str
    file: str
    end: int  # where its line ends in the file's text, continued ones included
    span: tuple[int, int]  # of the value in the text, within its quotes


class Line(NamedTuple):
    """A line as Slurm reads it: continued ones joined, without comment and escapes."""

    read: str
    spans: list[tuple[int, int]]  # of each character, in the text
    end: int
    open: bool  # the text ends in a backslash: what is added would be joined to it


@dataclass(frozen=True)
class Conf:
    """A file of Slurm's and what it includes."""

    main: str
    texts: Mapping[str, str]  # by path
    entries: tuple[Entry, ...]  # in the order in which Slurm meets them
    unread: tuple[str, ...]  # files that it includes, and that cannot be read

    def of(self, key: str) -> list[Entry]:
        """The lines that set a key."""
        return [entry for entry in self.entries if entry.key.lower() == key.lower()]

    def value(self, key: str, silent: str = "") -> str:
        """What holds of a key that is no list; `silent` where nobody sets it."""
        found = self.of(key)
        return found[-1].value if found else silent

    def with_value(self, entry: Entry, value: str) -> Conf:
        """Another value in the place of an entry's."""
        text = self.texts[entry.file]
        start, end = entry.span
        return self._with(entry.file, text[:start] + _escaped(value) + text[end:])

    def with_line_after(self, entry: Entry, line: str) -> Conf:
        """A line of its own behind an entry's."""
        text = self.texts[entry.file]
        return self._with(entry.file, _ended(text[: entry.end]) + f"{line}\n" + text[entry.end :])

    def with_line(self, line: str) -> Conf:
        """A line at the end of the main file."""
        return self._with(self.main, f"{_ended(self.texts[self.main])}{line}\n")

    def _with(self, file: str, text: str) -> Conf:
        return parsed(self.main, {**self.texts, file: text}.get)


def parsed(main: str, read: Reader) -> Conf:
    """A file and what it includes; one that cannot be read is empty, and among `unread`."""
    texts: dict[str, str] = {}
    unread: list[str] = []
    entries: list[Entry] = []

    def follow(file: str, above: tuple[str, ...]) -> None:
        text = texts[file] if file in texts else read(file)
        if text is None or file in above:
            unread.append(file)
            return
        texts[file] = text
        for line in lines(text):
            if name := _included(line.read):
                follow(_place(name, main, entries), (*above, file))
            elif entry := _entry(line, file):
                entries.append(entry)

    follow(main, ())
    texts.setdefault(main, "")
    return Conf(main, texts, tuple(entries), tuple(dict.fromkeys(unread)))


def _included(read: str) -> str:
    if read[:7].lower() == "include" and read[7:8] in tuple(SPACE):
        return next(iter(read[7:].split()), "")
    return ""


def _place(name: str, main: str, entries: list[Entry]) -> str:
    """get_extra_conf_path: beside slurm.conf, where it is no absolute path; %c is the cluster's name."""
    cluster = next((entry.value for entry in reversed(entries) if entry.key.lower() == "clustername"), "")
    name = name.replace("%c", cluster.lower()) if cluster else name
    return name if name.startswith("/") else f"{main.rpartition('/')[0]}/{name}"


def _entry(line: Line, file: str) -> Entry | None:
    if not (match := KEY.match(line.read)):
        return None
    group = 3 if match[2] is None else 2
    first, last = match.span(group)
    # An empty value has the place behind its first quote.
    start = line.spans[first][0] if first < last else line.spans[first - 1][1]
    return Entry(match[1], match[group], file, line.end, (start, line.spans[last - 1][1] if first < last else start))


def lines(text: str) -> Iterator[Line]:
    """The lines of a text, as Slurm joins and reads them."""
    at = 0
    while at < len(text):
        kept: list[int] = []
        more = True
        while more and at < len(text):
            end = text.find("\n", at) + 1 or len(text)
            bare = _bare(text[at:end])
            joined = _joined(bare)
            more = joined is not None
            kept += range(at, at + (len(bare) if joined is None else joined))
            at = end
        read: list[str] = []
        spans: list[tuple[int, int]] = []
        places = iter(kept)
        for place in places:
            # A backslash stands for what follows, be it in the line that was joined to it.
            last = next(places, None) if text[place] == "\\" else place
            if last is not None:
                read.append(text[last])
                spans.append((place, last + 1))
        yield Line("".join(read), spans, at, more)


def _bare(line: str) -> str:
    """Without its comment: from the first # that no odd number of backslashes precedes."""
    escaped = False
    for at, letter in enumerate(line):
        if letter == "#" and not escaped:
            return line[:at]
        escaped = letter == "\\" and not escaped
    return line


def _joined(line: str) -> int | None:
    """Where the backslash stands that joins the next line to this one; None: there is none."""
    seen = line.rstrip(SPACE)
    odd = (len(seen) - len(seen.rstrip("\\"))) % 2
    return len(seen) - 1 if odd else None


def _escaped(value: str) -> str:
    return re.sub(r"[\\#]", r"\\\g<0>", value)


def _ended(text: str) -> str:
    """A text that a line can be added to: its last line has an end, and is joined to nothing."""
    *_, last = [None, *lines(text)]
    if last is None:
        return text
    if not text.endswith("\n"):
        text += "\n"
    return text + "\n" if last.open else text

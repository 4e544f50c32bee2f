# SPDX-License-Identifier: Apache-2.0
"""How the demo speaks: what is typed, what is seen, what the kernel says, and whether it is so."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence

COLOURS = {"title": "1;36", "typed": "1", "good": "32", "bad": "1;31", "faint": "2"}
WIDTH = 110


class NotSo(Exception):
    """A statement of the demo that is not true here."""


class Story:
    """Prints scenes; colours on a terminal that wants them (NO_COLOR says it does not)."""

    def __init__(self) -> None:
        self.coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.began = time.monotonic()

    def _paint(self, kind: str, text: str) -> str:
        return f"\033[{COLOURS[kind]}m{text}\033[0m" if self.coloured else text

    def scene(self, number: int, title: str, *sentences: str) -> None:
        """Open a scene."""
        print(f"\n{self._paint('title', f'{number}. {title}')}")
        for sentence in sentences:
            print(f"   {sentence}")
        print(flush=True)

    def typed(self, script: str, *, who: str = "ann") -> None:
        """What somebody types."""
        for line in script.strip().splitlines():
            print(f"   {self._paint('typed', f'{who}$ {line}')}")
            who = " " * (len(who) - 1) + ">" if line.endswith("\\") else who
        sys.stdout.flush()

    def seen(self, text: str, *, most: int = 12) -> None:
        """What the terminal shows then."""
        lines = [line.rstrip() for line in text.strip().splitlines()]
        for line in lines[:most]:
            print(f"   {line[: WIDTH * 2]}")
        if len(lines) > most:
            print(self._paint("faint", f"   … {len(lines) - most} more lines"))
        sys.stdout.flush()

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Facts side by side."""
        lines = [list(header), *map(list, rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for number, line in enumerate(lines):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            print(f"     {self._paint('faint', text) if number == 0 else text}")
        sys.stdout.flush()

    def wait(self, what: str) -> None:
        """Something takes a while."""
        print(self._paint("faint", f"   … {what}"), flush=True)

    def check(self, true: object, statement: str) -> None:
        """State it, if it is so. Raises NotSo."""
        if not true:
            print(f"   {self._paint('bad', f'✗ {statement}')}", flush=True)
            raise NotSo(statement)
        print(f"   {self._paint('good', f'✓ {statement}')}", flush=True)

    def end(self, text: str) -> None:
        """Close."""
        print(f"\n{text}\n\n({time.monotonic() - self.began:.0f} s)", flush=True)

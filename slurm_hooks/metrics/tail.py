# SPDX-License-Identifier: Apache-2.0
"""The event log read on from where one was, over a rotation.

logrotate renames the log; writers make the next one (etc/logrotate.d). So what was not read yet is at the end of
`events.jsonl.1` and in `events.jsonl`. A file is known again by its first bytes, which hold a time in milliseconds:
its inode may be given to another file once it is compressed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO, Any

from slurm_hooks import quickjson, words

HEAD = 64  # bytes that tell a file


@dataclass(frozen=True)
class Mark:
    """A place in the log: all before it was read."""

    inode: int
    offset: int  # bytes
    head: str  # the first bytes of the file, as far as they were read
    time: float  # of the latest event before it, seconds since 1970

    def is_in(self, file: IO[bytes]) -> bool:
        """Is this the file that the place is in?"""
        facts = os.fstat(file.fileno())
        same = bool(self.head) or facts.st_ino == self.inode
        return same and facts.st_size >= self.offset and _head(file, len(self.head)) == self.head

    def to_json(self) -> dict[str, Any]:
        """What `of` reads."""
        return asdict(self)

    @classmethod
    def of(cls, saved: Any) -> Mark:
        """A place that was saved. Raises ValueError where it is none."""
        try:
            found = cls(saved["inode"], saved["offset"], saved["head"], saved["time"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no place in a log: {error}") from None
        if not (isinstance(found.inode, int) and isinstance(found.offset, int) and found.offset >= 0
                and isinstance(found.head, str) and isinstance(found.time, int | float)):  # fmt: skip
            raise ValueError("no place in a log")
        return found


def lost(since: float) -> Mark:
    """A place that is not known: what is later than `since` was not read."""
    return Mark(-1, 0, "\0", since)


class Tail:
    """What was written after a mark (None: all that is there). Iterate once; then `mark` is the new place."""

    def __init__(self, mark: Mark | None, path: str) -> None:
        self.path = path
        self.mark = mark or lost(0.0)
        self.gap = False  # the place is in neither file, nor anything before it: what lay between may be gone
        self.damaged = 0  # lines

    def __iter__(self) -> Iterator[dict[str, Any]]:
        before, latest = self.mark, self.mark.time
        with ExitStack() as stack:
            files = [stack.enter_context(file) for name in (self.path, f"{self.path}.1") if (file := _opened(name))]
            if len({os.fstat(file.fileno()).st_ino for file in files}) < len(files):
                files.pop()  # it was rotated this moment: both names are one file
            found = next((number for number, file in enumerate(files) if before.is_in(file)), None)
            self.gap = found is None and before.time > 0 and bool(files)
            unread = files if found is None else files[: found + 1]
            for number in reversed(range(len(unread))):  # the older one first
                offset = before.offset if number == found else 0
                last = number == 0 and _is_current(unread[0], self.path)
                for line in _whole_lines(unread[number], offset, to_the_end=not last):
                    offset += len(line)
                    event = self._event(line)
                    if event is None:
                        continue
                    if found is None and event["time"] <= before.time:
                        self.gap = False
                        continue
                    latest = max(latest, float(event["time"]))
                    yield event
                if number == 0:
                    inode = os.fstat(unread[0].fileno()).st_ino
                    self.mark = Mark(inode, offset, _head(unread[0], min(offset, HEAD)), latest)

    def _event(self, line: bytes) -> dict[str, Any] | None:
        try:
            event: dict[str, Any] = quickjson.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            event = {}
        if words.is_event(event):
            return event
        self.damaged += bool(line.strip())
        return None


def _opened(name: str) -> IO[bytes] | None:
    try:
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError:
        return None


def _is_current(file: IO[bytes], path: str) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _head(file: IO[bytes], length: int) -> str:
    return os.pread(file.fileno(), length, 0).decode("latin-1")


def _whole_lines(file: IO[bytes], offset: int, *, to_the_end: bool) -> Iterator[bytes]:
    """Lines from there on; one without an end only where nothing can come after it."""
    file.seek(offset)
    for line in file:
        if not line.endswith(b"\n") and not to_the_end:
            return  # it is being written
        yield line

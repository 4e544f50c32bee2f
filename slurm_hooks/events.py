# SPDX-License-Identifier: Apache-2.0
"""What happened, one JSON line an event, in one file with rotation.

Each writer opens, appends one line in one write(2) and closes: lines of
different programs never mix (O_APPEND), and a rotated file is left at once.
"""

from __future__ import annotations

import os
import sys
import time

from slurm_hooks import config, quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def record(event: str, *, job: int = 0, restart: int = 0, path: str = config.EVENTS, **facts: Any) -> None:
    """Append an event; `facts` are JSON values. Never raises: a full disk must not fail a job.

    Keys: `time` (seconds since 1970), `event`, `job` (0: none), `restart`, then the facts.
    """
    entry = {"time": round(time.time(), 3), "event": event, "job": job, "restart": restart, **facts}
    line = quickjson.dumps(entry) + "\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)
    except OSError as error:
        print(f"slurm-hooks: event not logged ({error}): {line}", end="", file=sys.stderr)


def read(path: str = config.EVENTS, *, job: int | None = None) -> Iterator[dict[str, Any]]:
    """The events of a job (of all jobs: None), oldest first, the last rotated file included."""
    for name in (f"{path}.1", path):
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                lines = file.readlines()
        except OSError:
            continue
        for line in lines:
            try:
                entry = quickjson.loads(line)
            except ValueError:
                continue  # a line cut short by a full disk
            if isinstance(entry, dict) and (job is None or entry.get("job") == job):
                yield entry

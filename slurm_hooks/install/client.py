# SPDX-License-Identifier: Apache-2.0
"""Which docker command a node should carry, and what to say of the one that it has. Pure.

Sources: docs/compatibility.md for what was run; moby: dockerd 29 serves API 1.44 (Docker 25) and later, and a client
of Docker 29 asks for no less; dockerd before 25 serves no 1.44.
"""

from __future__ import annotations

import re

RUN = ((20, 10), (28, 5))  # the oldest and the newest docker command that the suite ran
SHOULD = "a node should carry one from 20.10 to 28.5 (run here; API 1.41 to 1.44), from 25 on with a dockerd from 29 on"


def release(text: str) -> tuple[int, int] | None:
    """`Docker version 26.1.5+dfsg1, build …` or `26.1.5` → (26, 1)."""
    match = re.match(r"(?:Docker version )?v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def judged(path: str, said: str, engine: str) -> str:
    """A line on a docker command of a node.

    Args:
        path: where it is.
        said: what `docker --version` printed.
        engine: the release of the jobs' dockerd, "" where it does not answer.
    """
    own, daemon = release(said), release(engine)
    if not own:
        return f"{path} is no docker command, it says {said[:60].strip()!r}"
    here = f"{path} is {own[0]}.{own[1]}"
    if daemon and daemon >= (29, 0) and own < (25, 0):
        return f"{here}, and dockerd is {engine}, which refuses a command older than 25"
    if daemon and daemon < (25, 0) and own >= (29, 0):
        return f"{here}, and dockerd is {engine}, which is too old for a command from 29 on"
    if own < RUN[0]:
        return f"{here}, older than any that was run"
    if own > RUN[1]:
        return f"{here}, newer than any that was run; it asks in the API version that the broker names"
    return f"{here}: it will do"

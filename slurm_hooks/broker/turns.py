# SPDX-License-Identifier: Apache-2.0
"""Whose request is next: users take turns, so that one with a thousand requests delays the others by one.

In each pass of the loop one request of each user begins, and of a user no more
than AT_ONCE are worked on: what an answer takes of our memory is bounded with them.
A request that only waits, for dockerd or for a container, has given its turn up.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

AT_ONCE = 8  # requests of a user; a `docker ps` of 200 containers takes 4 MiB while it is decoded


class Turns:
    """Of all users."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        self._working: Counter[int] = Counter()
        self._comes = False  # is a pass scheduled?

    async def begin(self, uid: int) -> Turn:
        """Wait for a turn; end it."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(uid, deque()).append(granted)
        self._schedule()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.ended(uid)
            raise
        return Turn(self, uid)

    def ended(self, uid: int) -> None:
        self._working[uid] -= 1
        if not self._working[uid]:
            del self._working[uid]
        if self._waiting:
            self._schedule()

    def _schedule(self) -> None:
        if not self._comes:
            self._comes = True
            asyncio.get_running_loop().call_soon(self._pass)

    def _pass(self) -> None:
        self._comes = False
        more = False
        for uid, queue in list(self._waiting.items()):
            while queue and queue[0].cancelled():
                queue.popleft()
            if queue and self._working[uid] < AT_ONCE:
                self._working[uid] += 1
                queue.popleft().set_result(None)
            if not queue:
                del self._waiting[uid]
            else:
                more = more or self._working[uid] < AT_ONCE
        if more:
            self._schedule()


class Turn:
    """A request's turn. End it, however often."""

    __slots__ = ("_turns", "_uid")

    def __init__(self, turns: Turns, uid: int) -> None:
        self._turns: Turns | None = turns
        self._uid = uid

    def end(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.ended(self._uid)

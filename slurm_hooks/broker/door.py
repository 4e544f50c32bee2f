# SPDX-License-Identifier: Apache-2.0
"""The door: takes connections from the listening socket as fast as they come, and lets in who may come in.

A queue of connect(2) that is full keeps everybody out, so the first rule is that
it never is: batches in each pass of the loop, and the least work for each. A
connection above its user's bounds is closed before anything is made for it, and
one within them costs a dictionary's entry until it has said its first byte.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

BACKLOG = 4096  # the kernel takes the less of this and net.core.somaxconn, 4096 by default since Linux 5.4
BATCH = 64  # connections taken in a pass of the loop: half a millisecond
CONNECTIONS_OF_A_USER = 1024  # a docker run has three or four; nobody may take all descriptors from the others
CONNECTIONS_OF_A_STRANGER = 16  # of a user without a job here, who is served nothing but a refusal in words
FIRST_BYTE_SECONDS = 30.0  # a client speaks at once, or (Go's) keeps a spare connection for a short while
FULL_SECONDS = 0.1  # until the next try when the process has no descriptor left
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Rate:
    """New connections of a user: so many at once, and so many in each second after that."""

    burst: float
    each_second: float


# Users with a job come as fast as the broker could serve them: only a loop that does nothing else is faster.
MEMBER, STRANGER = Rate(2000, 1000), Rate(32, 8)


class Buckets:
    """How much of its rate each user has used up."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[float, float]] = {}  # uid → (connections it may still make, at what time)

    def take(self, uid: int, rate: Rate, now: float) -> bool:
        """One connection more at the time `now` (seconds): is it within the rate?"""
        left, then = self._left.get(uid, (rate.burst, now))
        left = min(rate.burst, left + (now - then) * rate.each_second)
        self._left[uid] = (max(left - 1, 0.0), now)
        return left >= 1

    def forget(self, before: float) -> None:
        """The users who have made no connection since then."""
        for uid in [uid for uid, (_, then) in self._left.items() if then < before]:
            del self._left[uid]


class Door:
    """Over a listening socket; `enter` is called with each connection that has said something, and its user."""

    def __init__(
        self, listener: socket.socket, is_member: Callable[[int], bool], enter: Callable[[socket.socket, int], None]
    ) -> None:
        listener.settimeout(0)
        self._listener, self._is_member, self._enter = listener, is_member, enter
        self._silent: dict[socket.socket, tuple[float, int]] = {}  # → (deadline, uid), oldest first
        self._buckets = Buckets()
        self.inside: Counter[int] = Counter()  # connections by uid, silent ones too
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(1.0, self._sweep)

    def open(self) -> None:
        """Take connections."""
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Take no more; who has said nothing yet has to come again."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
        self._sweeper.cancel()
        for connection in list(self._silent):
            self._drop(connection)

    def shut(self) -> None:
        """Take what is in the queue and no more, since new ones go to another broker; who is in may speak yet."""
        self._loop.remove_reader(self._listener.fileno())
        while self._accept():
            pass
        self._listener.close()

    def left(self, uid: int) -> None:
        """A connection that had entered is over."""
        self.inside[uid] -= 1
        if not self.inside[uid]:
            del self.inside[uid]

    def _accept(self) -> bool:
        """Take a batch; is there perhaps more?"""
        now = time.monotonic()
        for _ in range(BATCH):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return False
            except OSError:  # no descriptor is left: they wait in the kernel's queue meanwhile
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(FULL_SECONDS, self._again)
                return False
            _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            member = self._is_member(uid)
            most = CONNECTIONS_OF_A_USER if member else CONNECTIONS_OF_A_STRANGER
            if self.inside.get(uid, 0) >= most or not self._buckets.take(uid, MEMBER if member else STRANGER, now):
                connection.close()
                continue
            connection.settimeout(0)
            self.inside[uid] += 1
            self._silent[connection] = (now + FIRST_BYTE_SECONDS, uid)
            self._loop.add_reader(connection.fileno(), self._spoke, connection)
        return True

    def _again(self) -> None:
        if self._listener.fileno() >= 0:
            self.open()

    def _spoke(self, connection: socket.socket) -> None:
        try:
            said = connection.recv(1, socket.MSG_PEEK)
        except OSError:
            said = b""
        if not said:  # it has left again
            self._drop(connection)
            return
        self._loop.remove_reader(connection.fileno())
        _, uid = self._silent.pop(connection)
        self._enter(connection, uid)

    def _drop(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection.fileno())
        _, uid = self._silent.pop(connection)
        connection.close()
        self.left(uid)

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection, (deadline, _) in list(self._silent.items()):
            if deadline > now:
                break
            self._drop(connection)
        self._buckets.forget(now - 60)
        self._sweeper = self._loop.call_later(1.0, self._sweep)


def listening(path: str) -> socket.socket:
    """The socket, in place at once: bound under another name, then renamed over an old one."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    temporary = f"{path}.new"
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(temporary)
    os.chmod(temporary, 0o666)  # safe for all: who asks is read from the kernel, and only jobs are served
    listener.listen(BACKLOG)
    os.rename(temporary, path)
    return listener

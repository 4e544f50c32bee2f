# SPDX-License-Identifier: Apache-2.0
"""The door: takes connections from the listening sockets, and lets in who may come in.

A queue of connect(2) that is full keeps out whoever else comes to it. So each user
with a job here has a socket of his own (sockets.py), whose queue we let fill when he
comes faster than his rate: his connect(2) waits, which costs us nothing. At
everybody's socket a connection above its user's rate is closed, before anything is
made for it; that socket rests only when whole batches are such, or we would do
nothing else. Each pass of the loop takes a batch from each socket, and a connection
costs a dictionary's entry until it has said its first byte.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

BACKLOG = 4096  # the kernel takes the less of this and net.core.somaxconn, 4096 by default since Linux 5.4
BATCH = 64  # connections taken in a pass of the loop: half a millisecond
CONNECTIONS_OF_A_USER = 1024  # a docker run has three or four; nobody may take all descriptors from the others
CONNECTIONS_OF_A_STRANGER = 16  # of a user without a job here, who is served nothing but a refusal in words
FIRST_BYTE_SECONDS = 30.0  # a client speaks at once, or (Go's) keeps a spare connection for a short while
FULL_SECONDS = 0.1  # until the next try when the process has no descriptor left
REST_SECONDS = 0.05  # of a user's own socket when he comes faster than his rate
FLOOD_SECONDS = 0.01  # of everybody's after a batch of which most had to be closed
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
    """Over listening sockets; `enter` is called with each connection that has said something, and its user."""

    def __init__(self, is_member: Callable[[int], bool], enter: Callable[[socket.socket, int], None]) -> None:
        self._is_member, self._enter = is_member, enter
        self._listeners: dict[socket.socket, bool] = {}  # → is it everybody's?
        self._silent: dict[socket.socket, tuple[float, int]] = {}  # → (deadline, uid), oldest first
        self._buckets = Buckets()
        self.inside: Counter[int] = Counter()  # connections by uid, silent ones too
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(1.0, self._sweep)

    def open(self, listener: socket.socket, *, everybodys: bool) -> None:
        """Take connections from `listener` too, which is the door's from here on."""
        listener.settimeout(0)
        self._listeners[listener] = everybodys
        self._listen(listener)

    def shut(self, listener: socket.socket) -> None:
        """Take what is in its queue and no more, since new ones go elsewhere; who is in may speak yet."""
        listener.shutdown(socket.SHUT_RD)  # connect(2) is refused from here on, so the queue has an end
        while self._accept(listener):
            pass
        self._loop.remove_reader(listener.fileno())  # it may have been put to rest
        del self._listeners[listener]
        listener.close()

    def shut_all(self) -> None:
        """All of them."""
        for listener in list(self._listeners):
            self.shut(listener)

    def close(self) -> None:
        """Take no more; who has said nothing yet has to come again."""
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        self._sweeper.cancel()
        for connection in list(self._silent):
            self._drop(connection)

    def left(self, uid: int) -> None:
        """A connection that had entered is over."""
        self.inside[uid] -= 1
        if not self.inside[uid]:
            del self.inside[uid]

    def _accept(self, listener: socket.socket) -> bool:
        """Take a batch; is there perhaps more?"""
        now, everybodys, closed = time.monotonic(), self._listeners[listener], 0
        for _ in range(BATCH):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return False
            except OSError:  # no descriptor is left: they wait in the kernel's queue meanwhile
                self._rest(listener, FULL_SECONDS)
                return False
            _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            member = self._is_member(uid)
            most = CONNECTIONS_OF_A_USER if member else CONNECTIONS_OF_A_STRANGER
            within = self._buckets.take(uid, MEMBER if member else STRANGER, now)
            if self.inside.get(uid, 0) >= most or (not within and everybodys):
                connection.close()
                closed += 1
            else:
                connection.settimeout(0)
                self.inside[uid] += 1
                self._silent[connection] = (now + FIRST_BYTE_SECONDS, uid)
                self._loop.add_reader(connection.fileno(), self._spoke, connection)
            if not within and not everybodys:
                self._rest(listener, REST_SECONDS)
                return True
        if closed > BATCH // 2:
            self._rest(listener, FLOOD_SECONDS)
        return True

    def _rest(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener.fileno())
        self._loop.call_later(seconds, self._listen, listener)

    def _listen(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

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
    """Everybody's socket, in place at once: bound under another name, then renamed over an old one."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    temporary = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(temporary)
    os.chmod(temporary, 0o666)  # safe for all: who asks is read from the kernel, and only jobs are served
    listener.listen(BACKLOG)
    os.rename(temporary, path)
    return listener

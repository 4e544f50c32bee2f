# SPDX-License-Identifier: Apache-2.0
"""A connected stream socket on the loop, without a buffer of its own.

asyncio's streams read ahead, up to 256 KiB for each connection, whether anybody
wants it or not, and keep what cannot be written yet. Here a byte is taken from
the kernel when it is asked for, and a write ends when the kernel has it all: what
a client holds us to is one piece, and the kernel's socket buffers do the rest.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any

CHUNK = 64 * 1024  # bytes that are taken at once
RETRY_SECONDS = 0.01


class Channel:
    """One end of a stream; a task reads, a task writes. Close it when they are through."""

    __slots__ = ("_socket",)

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        self._socket = connection

    async def read(self, most: int = CHUNK) -> bytes:
        """The next bytes, at most `most`; b"" at the end. Raises OSError.

        A read for each pass of the loop, so that a stream which always has more leaves the others their turn.
        """
        await asyncio.sleep(0)
        while True:
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                await _ready(asyncio.get_running_loop().add_reader, self._socket.fileno())

    async def write(self, data: bytes) -> None:
        """Until the kernel has all of it. Raises OSError."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await _ready(asyncio.get_running_loop().add_writer, self._socket.fileno())

    async def left(self) -> None:
        """Until the other side is gone altogether: a half-close is not that. Bytes that come stay where they are."""
        with select.epoll(1) as watch:
            watch.register(self._socket, 0)  # nothing is asked for, and EPOLLHUP is told always (epoll_ctl(2))
            await _ready(asyncio.get_running_loop().add_reader, watch.fileno())

    def write_eof(self) -> None:
        """Half-close. Raises OSError."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


async def _ready(add: Callable[..., Any], fd: int) -> None:
    """Until the loop says that `fd` is ready; `add` is the loop's add_reader or add_writer."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    add(fd, tell)
    try:
        await ready
    finally:
        (loop.remove_reader if add == loop.add_reader else loop.remove_writer)(fd)


async def connected(path: str) -> Channel:
    """A channel to a unix socket; waits while its queue is full. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(connection)
    try:
        while True:
            try:
                connection.connect(path)
                return channel
            except BlockingIOError:  # a full queue, of which no poll tells the end (unix(7))
                await asyncio.sleep(RETRY_SECONDS)
    except BaseException:
        channel.close()
        raise

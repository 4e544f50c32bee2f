# SPDX-License-Identifier: Apache-2.0
"""What a stream may hold of the broker while nobody reads it, and that of connections which are over nothing stays."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks.broker import channel
from tests.unit.test_under_load import ATTACH, GET, LOGS, MORE_THAN_ANY_BUFFER, WAIT, Lab, Story, answered, told

__all__ = ["told"]
SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def unread(one: socket.socket) -> int:
    """Bytes that wait in the kernel to be read from a socket."""
    return int(struct.unpack("i", fcntl.ioctl(one, termios.FIONREAD, b"\0" * 4))[0])


async def filled(one: socket.socket, what: bytes) -> int:
    """Send until nobody takes more for a while; how many bytes went."""
    one.settimeout(0)
    sent = stuck = 0
    while stuck < 20:
        try:
            sent, stuck = sent + one.send(what), 0
            await asyncio.sleep(0)
        except BlockingIOError:
            stuck += 1
            await asyncio.sleep(0.005)
        assert sent < MORE_THAN_ANY_BUFFER, "it is taken without end"
    return sent


class Stream:
    """A client and a dockerd that have a stream through the broker, and the broker's ends of it."""

    def __init__(self, lab: Lab, client: socket.socket, daemon: socket.socket) -> None:
        self.client, self.daemon = client, daemon
        self.of_client = next(iter(lab.broker._inside.values())).channel._socket
        self.of_daemon = lab.upstream[-1].channel._socket


async def stream(lab: Lab, request: bytes, head: bytes) -> Stream:
    """Begun, its heads sent and read."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(lab.dockerd)
        listener.listen()
        listener.settimeout(0)
        client = socket.socket(socket.AF_UNIX)
        client.connect(lab.path)
        client.sendall(request)
        daemon, _ = await loop.sock_accept(listener)
    assert await loop.sock_recv(daemon, 65536)
    daemon.sendall(head)
    client.settimeout(0)
    assert (await loop.sock_recv(client, 65536)).startswith(head[:12])
    return Stream(lab, client, daemon)


@pytest.mark.parametrize(("request_", "head"), [(ATTACH, SWITCHED), (LOGS, STREAM)], ids=["attach", "logs"])
def test_of_a_stream_that_its_client_does_not_read_the_broker_holds_one_piece(
    told: Callable[[Story], Any], request_: bytes, head: bytes
) -> None:
    async def story(lab: Lab) -> tuple[int, bool]:
        one = await stream(lab, request_, head)
        sent = await filled(one.daemon, b"y" * 10_000)
        held = sent - unread(one.client) - unread(one.of_daemon)
        one.daemon.close()
        reader, writer = await asyncio.open_unix_connection(sock=one.client)
        came = (await reader.read()).count(b"y")  # and it waited: nothing is lost
        writer.close()
        await lab.is_empty()
        return held, came == sent

    held, whole = told(story)
    assert whole
    assert held <= channel.CHUNK


def test_of_a_stream_that_its_container_does_not_read_the_broker_holds_one_piece(told: Callable[[Story], Any]) -> None:
    async def story(lab: Lab) -> tuple[int, bool]:
        one = await stream(lab, ATTACH, SWITCHED)
        sent = await filled(one.client, b"y" * 10_000)
        held = sent - unread(one.daemon) - unread(one.of_client)
        one.client.shutdown(socket.SHUT_WR)
        reader, writer = await asyncio.open_unix_connection(sock=one.daemon)
        came = (await reader.read()).count(b"y")
        writer.close()
        one.client.close()
        await lab.is_empty()
        return held, came == sent

    held, whole = told(story)
    assert whole
    assert held <= channel.CHUNK


# -- nothing stays ---------------------------------------------------------------------------------

Kind = Callable[[Lab], Coroutine[Any, Any, None]]


async def _served(lab: Lab) -> None:
    reader, writer = await lab.connect(GET)
    await answered(reader)
    writer.close()


async def _broken_off(lab: Lab) -> None:
    _, writer = await lab.connect(GET[:-2])
    writer.close()


async def _no_request(lab: Lab) -> None:
    reader, writer = await lab.connect(b"nonsense\r\n\r\n")
    await reader.read()
    writer.close()


async def _waits_and_leaves(lab: Lab) -> None:
    _, writer = await lab.connect(WAIT % 0)
    while not lab.door.inside:
        await asyncio.sleep(0)
    writer.close()
    lab.goes_on.set()


async def _takes_no_answer(lab: Lab) -> None:
    _, writer = await lab.connect(GET.replace(b"/info", b"/large"))
    await asyncio.sleep(0)
    writer.transport.abort()


def _streamed(request: bytes, head: bytes, ends: str) -> Kind:
    async def one(lab: Lab) -> None:
        Path(lab.dockerd).unlink(missing_ok=True)
        both = await stream(lab, request, head)
        first, second = (both.client, both.daemon) if ends == "client" else (both.daemon, both.client)
        first.close()
        await asyncio.get_running_loop().sock_recv(second, 1)  # sees its end
        second.close()

    return one


KINDS: dict[str, Kind] = {
    "served": _served,
    "broken off": _broken_off,
    "no request": _no_request,
    "waits and leaves": _waits_and_leaves,
    "takes no answer": _takes_no_answer,
    "attached, and leaves": _streamed(ATTACH, SWITCHED, "client"),
    "attached to its end": _streamed(ATTACH, SWITCHED, "daemon"),
    "logs, and leaves": _streamed(LOGS, STREAM, "client"),
    "logs to their end": _streamed(LOGS, STREAM, "daemon"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_connections_that_are_over_nothing_stays(told: Callable[[Story], Any], kind: str) -> None:
    def there(lab: Lab) -> list[Any]:
        broker = lab.broker
        counted: list[Any] = [
            broker.pending,
            broker.of_jobs,
            broker.turns._working,
            broker.turns._waiting,
            lab.door.inside,
        ]
        return [len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), *map(len, counted), len(broker._inside)]

    async def story(lab: Lab) -> tuple[list[Any], list[Any]]:
        before = there(lab)
        for _ in range(20):
            await KINDS[kind](lab)
        await lab.is_empty()
        lab.upstream.clear()
        while there(lab) != before:  # a client's own transports end a pass of the loop later
            await asyncio.sleep(0.005)
        return before, there(lab)

    before, after = told(story)
    assert after == before

# SPDX-License-Identifier: Apache-2.0
"""What a user can hold of the broker: "Under load" of docs/security.md line by line, on real sockets, small figures."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks.broker import channel, connection, door, handlers, http1, peers, relay, server, turns
from slurm_hooks.broker.connection import Connection
from slurm_hooks.broker.door import Door, listening
from slurm_hooks.broker.http1 import Request
from slurm_hooks.broker.peers import Asker
from tests.unit.policy import ROOT
from tests.unit.test_jobs import job_of

GET = b"GET /info HTTP/1.1\r\nHost: d\r\n\r\n"
ATTACH = b"POST /attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
LOGS = b"GET /logs HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
WAIT = b"POST /wait HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n"
MORE_THAN_ANY_BUFFER = 8 * 1024 * 1024


class Lab:
    """A broker on a socket, and a dockerd that is what the test says. Whoever connects is of a job."""

    def __init__(self, place: Path) -> None:
        self.path, self.dockerd = str(place / "docker.sock"), str(place / "dockerd.sock")
        self.broker, self.door = server.Broker(), Door.__new__(Door)
        self.upstream: list[relay.Answer] = []  # dockerd's answers, as the broker has them
        self.goes_on = asyncio.Event()  # until then GET /info is worked on

    async def handle(self, served: Connection, asker: Asker, request: Request) -> None:
        """Four kinds of requests: answered by us, with much or little; passed on; a stream; one that waits."""
        if request.path in ("/attach", "/logs"):
            up = relay.Upstream(self.dockerd, (1, 44), (1, 24))
            answer = await up.ask(request.method, request.path, upgrade=request.upgrade)
            self.upstream.append(answer)
            await served.pass_on(answer)
        elif request.path == "/large":
            await served.reply_text(200, "x" * MORE_THAN_ANY_BUFFER)
        elif request.path == "/wait":
            served.waits()
            await self.goes_on.wait()
            await served.reply_text(200, "over")
        else:
            await served.reply_text(200, "OK")

    async def connect(self, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has sent these."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return reader, writer

    async def is_empty(self) -> None:
        """Until the broker has seen the last of every connection."""
        while self.door.inside:
            await asyncio.sleep(0.005)


Story = Callable[[Lab], Coroutine[Any, Any, Any]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], Any]:
    """Tell a story with a lab."""
    monkeypatch.setattr(peers.Peer, "asker", lambda self, registry: Asker(1, 1001, 1001, (), job_of()))
    monkeypatch.setattr(peers.Registry, "has_jobs", lambda self, uid: True)

    async def run(story: Story) -> Any:
        lab = Lab(tmp_path)
        monkeypatch.setattr(handlers, "handle", lab.handle)
        lab.door = lab.broker.door()
        lab.door.open(listening(lab.path), everybodys=True)
        try:
            async with asyncio.timeout(20):
                return await story(lab)
        finally:
            lab.door.close()

    return lambda story: asyncio.run(run(story))


async def answered(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The next answer: its status, and its text or message."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length
    body = (await reader.readexactly(int(length[1]))).decode()
    return int(head.split()[1]), json.loads(body)["message"] if body.startswith("{") else body


# -- requests --------------------------------------------------------------------------------------


def test_a_jobs_connections_above_its_bound_are_told_so_until_one_has_ended(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_OF_A_JOB", 3)

    async def story(lab: Lab) -> list[tuple[int, str]]:
        held = [await lab.connect(GET) for _ in range(3)]
        said = [await answered(reader) for reader, _ in held]
        reader, writer = await lab.connect(GET)
        said.append(await answered(reader))
        writer.write(GET)  # asking again on that connection is asking again
        said.append(await answered(reader))
        held[0][1].close()
        while lab.broker.of_jobs.total() == 3:
            await asyncio.sleep(0.005)
        writer.write(GET)
        said.append(await answered(reader))
        return said

    full = (409, "docker: this job has 3 connections open. Let some end.")
    assert told(story) == [(200, "OK")] * 3 + [full] * 2 + [(200, "OK")]


def test_bytes_of_requests_that_a_user_has_begun_have_a_bound(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_PENDING", 10_000)

    async def story(lab: Lab) -> list[Any]:
        first, first_writer = await lab.connect(WAIT % 8000, b"x" * 6000)
        while lab.broker.pending.total() < 6000:
            await asyncio.sleep(0.005)
        second, _ = await lab.connect(WAIT % 8000, b"x" * 6000)
        said = [await answered(second), await second.read()]
        lab.goes_on.set()
        first_writer.write(b"x" * 2000)  # the one that was within the bound goes on
        said.append(await answered(first))
        third, _ = await lab.connect(WAIT % 8000, b"x" * 8000)
        said.append(await answered(third))
        return [*said, lab.broker.pending]

    too_many = (400, "request: 4 MiB of requests are under way. Send one after the other.")
    assert told(story) == [too_many, b"", (200, "over"), (200, "over"), {}]


def test_bytes_of_a_request_that_waits_are_held_and_so_they_count(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker wait` with a body of 1 MiB, from 500 connections, would keep 500 MiB for as long as it likes."""
    monkeypatch.setattr(connection, "MOST_PENDING", 10_000)

    async def story(lab: Lab) -> list[int]:
        waiting = [await lab.connect(WAIT % 4000, b"x" * 4000) for _ in range(3)]
        done, _ = await asyncio.wait(
            [asyncio.create_task(answered(reader)) for reader, _ in waiting], return_when=asyncio.FIRST_COMPLETED
        )
        refused = [task.result()[0] for task in done]
        lab.goes_on.set()
        return refused

    assert told(story) == [400]


def test_bytes_that_came_behind_a_request_count_too(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(lab: Lab) -> int:
        await lab.connect(WAIT % 0 + b"x" * 9000)
        while not lab.broker.pending:
            await asyncio.sleep(0.005)
        return lab.broker.pending.total()

    assert told(story) == len(WAIT % 0) + 9000


def test_a_request_has_so_long_from_its_first_byte_to_its_last_however_it_comes(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.2)

    async def story(lab: Lab) -> int:
        reader, writer = await lab.connect(GET)
        assert await answered(reader) == (200, "OK")
        pieces = 0
        while lab.door.inside and pieces < 500:
            writer.write(b"GET "[pieces : pieces + 1] or b"a")
            pieces += 1
            await asyncio.sleep(0.01)
        writer.close()
        return pieces

    assert 5 <= told(story) < 500


def test_one_that_has_begun_behind_another_has_no_longer(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.1)

    async def story(lab: Lab) -> list[Any]:
        reader, _ = await lab.connect(GET + GET[:10])
        return [await answered(reader), await reader.read()]

    assert told(story) == [(200, "OK"), b""]


def test_between_requests_a_connection_is_kept_for_a_while(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.1)

    async def story(lab: Lab) -> list[Any]:
        reader, writer = await lab.connect(GET)
        said: list[Any] = [await answered(reader)]
        writer.write(GET)
        return [*said, await answered(reader), await reader.read()]

    assert told(story) == [(200, "OK"), (200, "OK"), b""]


def test_an_answer_of_ours_that_is_not_taken_ends_the_connection(
    told: Callable[[Story], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REPLY_SECONDS", 0.1)

    async def story(lab: Lab) -> int:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(lab.path)
            client.sendall(GET.replace(b"/info", b"/large"))
            while not lab.door.inside:
                await asyncio.sleep(0)
            await lab.is_empty()
            client.settimeout(5)
            came = 0
            while data := client.recv(1 << 20):
                came += len(data)
            return came

    assert 0 < told(story) < MORE_THAN_ANY_BUFFER


# -- the page --------------------------------------------------------------------------------------

KIB = 1024
BOUNDS = {
    "connections of a user / of one without a job here": (
        f"{door.CONNECTIONS_OF_A_USER} / {door.CONNECTIONS_OF_A_STRANGER}"
    ),
    "new connections of a user / of one without a job here": (
        f"{door.MEMBER.burst}, then {door.MEMBER.each_second} a second / "
        f"{door.STRANGER.burst}, then {door.STRANGER.each_second} a second"
    ),
    "connections of a job": f"{connection.CONNECTIONS_OF_A_JOB}",
    "time to the first byte / between requests": f"{door.FIRST_BYTE_SECONDS:.0f} s / {connection.IDLE_SECONDS:.0f} s",
    "a request from its first byte to its last": (
        f"{connection.REQUEST_SECONDS:.0f} s, head {http1.MOST_HEAD // KIB} KiB, body {http1.MOST_BODY // KIB**2} MiB"
    ),
    "bytes of all requests that a user has under way": f"{connection.MOST_PENDING // KIB**2} MiB",
    "requests of a user that are worked on": f"{turns.AT_ONCE}; users take turns",
    "an answer of ours that is not taken": f"{connection.REPLY_SECONDS:.0f} s",
    "a stream that is not read": (
        f"{channel.CHUNK // KIB} KiB each way, the rest waits in the container's own pipe"
    ),
    "a client that has left": "its connection to dockerd is closed at once",
}  # fmt: skip


def test_the_page_has_the_figures_of_the_code() -> None:
    text = (ROOT / "docs" / "security.md").read_text().partition("## Under load")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert {what: bound for what, bound, _ in rows[2:]} == BOUNDS

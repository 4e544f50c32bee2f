# SPDX-License-Identifier: Apache-2.0
"""An attached stream, from a client through the broker's edge to a dockerd that is a few lines of test."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from slurm_hooks.broker import handlers, peers, relay, server
from slurm_hooks.broker.connection import Connection
from slurm_hooks.broker.door import listening
from slurm_hooks.broker.http1 import Request
from slurm_hooks.broker.peers import Asker
from tests.unit.test_jobs import job_of

UPGRADE = b"POST /containers/c/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Whoever connects is served, and handed on to a dockerd at the path returned."""
    dockerd = str(tmp_path / "dockerd.sock")

    async def attach(connection: Connection, asker: Asker, request: Request) -> None:
        await connection.pass_on(await relay.Upstream(dockerd, (1, 44), (1, 24)).ask("POST", "/attach", upgrade=True))

    monkeypatch.setattr(peers.Peer, "asker", lambda self, registry: Asker(1, 1001, 1001, (), job_of()))
    monkeypatch.setattr(handlers, "handle", attach)
    return dockerd


async def attached(path: Path, dockerd: str, script: list[bytes]) -> bytes:
    """A client that half-closes at once; dockerd waits for that, then says `script`. What the client read."""
    half_closed = asyncio.Event()

    async def daemon(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        assert await reader.read() == b"typed"
        half_closed.set()
        for part in script:
            gc.collect()
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    broker = server.Broker()
    upstream = await asyncio.start_unix_server(daemon, dockerd)
    door = broker.door()
    door.open(listening(str(path)), everybodys=True)
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(UPGRADE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"typed")
            writer.write_eof()
            await half_closed.wait()
            return await reader.read()
    finally:
        door.close()
        upstream.close()


def test_a_half_closed_stream_goes_on_to_its_end(tmp_path: Path, admitted: str) -> None:
    script = [b"x" * 100_000, b"", b"y" * 100_000, b"end"]
    assert asyncio.run(attached(tmp_path / "docker.sock", admitted, script)) == b"".join(script)

# SPDX-License-Identifier: Apache-2.0
"""A dockerd that breaks off, wherever: a client hears words where there is room for them, and no task of ours dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from slurm_hooks.broker import keeper
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.broker.streams import Rewritten
from slurm_hooks.errors import NodeFault

BROKEN = {
    "before its answer": b"",
    "in the head": b"HTTP/1.1 200 OK\r\nContent-",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{",
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "in a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "in words of its own": b"nonsense\r\n\r\n",
}


def against(said: bytes, path: Path, do: Callable[[Upstream], Awaitable[None]]) -> None:
    """Something done to a dockerd that says this and is gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_unix_server(serve, path / "docker.sock"):
            await do(Upstream(str(path / "docker.sock"), (1, 44), (1, 24)))

    asyncio.run(run())


@pytest.mark.parametrize("where", BROKEN)
def test_a_value_that_breaks_off_is_a_fault_of_the_node(tmp_path: Path, where: str) -> None:
    async def ask(up: Upstream) -> None:
        with pytest.raises(NodeFault, match="dockerd"):
            await up.value("GET", "/containers/json")

    against(BROKEN[where], tmp_path, ask)


@pytest.mark.parametrize("where", ["in a chunk", "between chunks", "in a body"])
def test_a_stream_that_breaks_off_is_a_lost_connection(tmp_path: Path, where: str) -> None:
    async def ask(up: Upstream) -> None:
        answer = await up.ask("GET", "/events")
        with pytest.raises(ConnectionError):
            async for _ in answer.body():
                pass
        answer.close()

    against(BROKEN[where], tmp_path, ask)


@pytest.mark.parametrize("end", [b"\n", b""], ids=["with an end", "without"])
def test_a_stream_is_rewritten_line_by_line_however_it_is_cut(tmp_path: Path, end: bytes) -> None:
    async def ask(up: Upstream) -> None:
        answer = Rewritten(await up.ask("GET", "/events"), lambda value: value + 1)
        assert await answer.whole() == b"2\n13\n4\n"
        answer.close()

    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"1\n1", b"2", b"\n\n3" + end))
    against(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", tmp_path, ask)


def test_a_bug_in_a_task_of_the_keeper_is_told_and_the_task_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    begun: list[int] = []
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr("slurm_hooks.events.record", lambda kind, why: told.append(f"{kind} {why}"))

    async def task() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise TypeError("x")

    asyncio.run(keeper._kept("watch", task))
    assert len(begun) == 3
    assert told[0].startswith("keeper-bug watch: TypeError: x (task, line ") and len(told) == 2

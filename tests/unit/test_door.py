# SPDX-License-Identifier: Apache-2.0
"""The door on a real socket: who may come in, and what is kept of those who say nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks.broker import door as door_module
from slurm_hooks.broker.door import FULL_SECONDS, MEMBER, STRANGER, Buckets, Door, Rate, listening

Story = Callable[[Door, str, list[socket.socket]], Coroutine[Any, Any, Any]]


def at_the_door(path: str, story: Story, *, member: bool, everybodys: bool = True) -> Any:
    """Run a story at a door that is open to one socket; it gets the door, the path and the connections that entered."""

    async def run() -> Any:
        entered: list[socket.socket] = []
        door = Door(lambda uid: member, lambda connection, uid: entered.append(connection))
        door.open(listening(path), everybodys=everybodys)
        try:
            async with asyncio.timeout(20):
                return await story(door, path, entered)
        finally:
            door.close()
            for connection in entered:
                connection.close()

    return asyncio.run(run())


def connect(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "docker.sock")


def test_a_connection_enters_with_its_first_byte(path: str) -> None:
    async def story(door: Door, path: str, entered: list[socket.socket]) -> tuple[int, int]:
        with connect(path) as one:
            await until(lambda: door.inside[os.getuid()] == 1)
            before = len(entered)
            one.sendall(b"G")
            await until(lambda: bool(entered))
            return before, door.inside[os.getuid()]

    assert at_the_door(path, story, member=True) == (0, 1)


def test_of_one_who_leaves_without_a_word_nothing_is_kept(path: str) -> None:
    async def story(door: Door, path: str, entered: list[socket.socket]) -> tuple[int, int, int]:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(500):
            connect(path).close()
            await asyncio.sleep(0)
        await until(lambda: not door._silent)
        return len(entered), door.inside[os.getuid()], len(os.listdir("/proc/self/fd")) - before

    assert at_the_door(path, story, member=True) == (0, 0, 0)


def test_who_says_nothing_is_sent_away_in_time(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "FIRST_BYTE_SECONDS", 0.0)

    async def story(door: Door, path: str, entered: list[socket.socket]) -> bytes:
        with connect(path) as one:
            await until(lambda: door.inside[os.getuid()] == 1)
            await until(lambda: door.inside[os.getuid()] == 0)
            return one.recv(1)

    assert at_the_door(path, story, member=True) == b""


@pytest.mark.parametrize(("member", "most"), [(True, 1024), (False, 16)], ids=["with a job", "without"])
def test_a_connection_above_the_users_bound_is_closed_at_once(path: str, *, member: bool, most: int) -> None:
    async def story(door: Door, path: str, entered: list[socket.socket]) -> tuple[int, bytes]:
        held = [connect(path) for _ in range(most)]
        await until(lambda: door.inside[os.getuid()] == most)
        with connect(path) as another:
            another.settimeout(0)
            while True:
                try:
                    said = another.recv(1)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.005)
        for one in held:
            one.close()
        return len(held), said

    assert at_the_door(path, story, member=member) == (most, b"")


def test_a_door_without_descriptors_opens_again(path: str) -> None:
    async def story(door: Door, path: str, entered: list[socket.socket]) -> int:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with connect(path) as one:
            highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
            holes = [os.dup(one.fileno()) for _ in range(highest)]  # the numbers below the limit, all of them
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(holes) + 1, hard))
            try:
                await asyncio.sleep(2 * FULL_SECONDS)
                shut_out = door.inside[os.getuid()]
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for hole in holes:
                    os.close(hole)
            await until(lambda: door.inside[os.getuid()] == 1)
        return shut_out

    assert at_the_door(path, story, member=True) == 0


def test_a_rate_is_a_burst_and_then_so_many_each_second() -> None:
    buckets, rate = Buckets(), Rate(burst=5, each_second=2)
    assert [buckets.take(1, rate, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert [buckets.take(1, rate, 1.0) for _ in range(3)] == [True, True, False]
    assert buckets.take(2, rate, 1.0)  # each user has his own
    assert [buckets.take(1, rate, 100.0) for _ in range(6)] == [True] * 5 + [False]  # no more than the burst
    buckets.forget(before=101.0)
    assert buckets._left == {}


def test_a_user_without_a_job_has_less_of_everything() -> None:
    assert STRANGER.burst < MEMBER.burst
    assert STRANGER.each_second < MEMBER.each_second


def test_who_comes_too_fast_is_closed_at_everybodys_socket(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "MEMBER", Rate(burst=3, each_second=0))

    async def story(door: Door, path: str, entered: list[socket.socket]) -> list[bool]:
        held = [connect(path) for _ in range(5)]
        await until(lambda: door.inside[os.getuid()] == 3)
        closed = [await is_closed(one) for one in held]
        for one in held:
            one.close()
        return closed

    assert at_the_door(path, story, member=True) == [False] * 3 + [True] * 2


async def is_closed(one: socket.socket) -> bool:
    """Is it over? Given a moment to be."""
    one.settimeout(0)
    for _ in range(20):
        try:
            return one.recv(1) == b""
        except BlockingIOError:
            await asyncio.sleep(0.005)
    return False


def test_at_his_own_he_waits_in_the_kernels_queue_and_is_served(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "MEMBER", Rate(burst=3, each_second=0))
    monkeypatch.setattr(door_module, "REST_SECONDS", 0.1)

    async def story(door: Door, path: str, entered: list[socket.socket]) -> list[int]:
        held = [connect(path) for _ in range(6)]
        seen: list[int] = []
        async with asyncio.timeout(5):
            while door.inside[os.getuid()] < 6:
                if not seen or seen[-1] != door.inside[os.getuid()]:
                    seen.append(door.inside[os.getuid()])
                await asyncio.sleep(0.005)
        closed = [await is_closed(one) for one in held]
        for one in held:
            one.close()
        return [*seen, sum(closed)]

    assert at_the_door(path, story, member=True, everybodys=False)[-3:] == [4, 5, 0]


def test_a_flood_of_one_socket_leaves_the_others_queue_empty(path: str, tmp_path: Path) -> None:
    """The flooder is another process, on a processor of its own where there is one."""
    flood = f"import socket\nwhile True:\n one = socket.socket(socket.AF_UNIX); one.connect({path!r}); one.close()"

    async def story(door: Door, path: str, entered: list[socket.socket]) -> int:
        mine = str(tmp_path / "mine.sock")
        door.open(listening(mine), everybodys=False)
        flooder = await asyncio.create_subprocess_exec(sys.executable, "-IS", "-c", flood)
        try:
            await until(lambda: door._buckets._left.get(os.getuid(), (9.0, 0.0))[0] < 1)  # it is above its rate
            served = 0
            for _ in range(20):
                with socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(0)  # EAGAIN, as Go's clients get it, were the queue full
                    one.connect(mine)
                    one.send(b"G")
                    served += 1
                    await until(lambda served=served: len(entered) == served)  # type: ignore[misc]
            return served
        finally:
            flooder.kill()
            await flooder.wait()

    assert at_the_door(path, story, member=True, everybodys=False) == 20


def test_a_socket_that_is_shut_serves_who_had_come_and_refuses_who_comes(path: str) -> None:
    async def story(door: Door, path: str, entered: list[socket.socket]) -> int:
        held = [connect(path) for _ in range(door_module.BATCH + 5)]
        (listener,) = door._listeners
        door.shut(listener)
        with pytest.raises(ConnectionRefusedError):
            connect(path)
        inside = door.inside[os.getuid()]
        held[0].send(b"G")
        await until(lambda: len(entered) == 1)
        for one in held:
            one.close()
        return inside

    assert at_the_door(path, story, member=True) == door_module.BATCH + 5


def test_a_flood_cannot_keep_a_socket_from_being_shut(path: str) -> None:
    flood = (
        f"import os, socket\nhold = os.open({path!r}, os.O_PATH)\nprint('holds', flush=True)\n"
        "while True:\n try: one = socket.socket(socket.AF_UNIX); one.connect(f'/proc/self/fd/{hold}'); one.close()\n"
        " except ConnectionRefusedError: break"
    )

    async def story(door: Door, path: str, entered: list[socket.socket]) -> int:
        flooder = await asyncio.create_subprocess_exec(
            sys.executable, "-IS", "-c", flood, stdout=asyncio.subprocess.PIPE
        )
        assert flooder.stdout is not None
        await flooder.stdout.readline()
        await until(lambda: bool(door._buckets._left))
        os.unlink(path)
        (listener,) = door._listeners
        door.shut(listener)
        return await flooder.wait()

    assert at_the_door(path, story, member=True, everybodys=False) == 0

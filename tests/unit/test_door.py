# SPDX-License-Identifier: Apache-2.0
"""The door on a real socket: who may come in, and what is kept of those who say nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks.broker import door as door_module
from slurm_hooks.broker.door import FULL_SECONDS, MEMBER, STRANGER, Buckets, Door, Rate, listening

Story = Callable[[Door, str, list[socket.socket]], Coroutine[Any, Any, Any]]


def at_the_door(path: str, story: Story, *, member: bool) -> Any:
    """Run a story at an open door; it gets the door, its path and the connections that entered."""

    async def run() -> Any:
        entered: list[socket.socket] = []
        door = Door(listening(path), lambda uid: member, lambda connection, uid: entered.append(connection))
        door.open()
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

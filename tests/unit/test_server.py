# SPDX-License-Identifier: Apache-2.0
"""The broker's edge on a real socket: this process is in no job, so whatever it asks it is refused in words."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from pathlib import Path

import pytest

from slurm_hooks import events
from slurm_hooks.broker import server
from slurm_hooks.broker.door import listening
from tests.unit.test_http1 import ATTACH, CREATE, PING

GET = b"GET /info HTTP/1.1\r\nHost: d\r\n\r\n"


async def talk(path: str, *pieces: bytes) -> bytes:
    """Everything that the broker answers to these bytes, until it closes or has nothing to say."""
    broker = server.Broker()
    door = broker.door()
    door.open(listening(path), everybodys=True)
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_unix_connection(path)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer
    finally:
        door.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sock" / "docker.sock")


def asked(path: str, *pieces: bytes) -> list[bytes]:
    """The answers, one by one."""
    return re.split(rb"(?<!^)(?=HTTP/1\.1 \d)", asyncio.run(talk(path, *pieces)))


def message(answer: bytes) -> str:
    text: str = json.loads(answer.partition(b"\r\n\r\n")[2])["message"]
    return text


@pytest.mark.parametrize("data", [GET, CREATE, ATTACH], ids=["GET", "POST", "Upgrade"])
def test_a_process_of_no_job_is_refused_in_words(path: str, data: bytes) -> None:
    (answer,) = asked(path, data)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert message(answer).startswith("docker: this process is in no job that slurm-hooks knows")
    assert [event["by"] for event in events.read() if event["event"] == "refused"] == ["asker"]


def test_a_head_request_gets_no_body(path: str) -> None:
    answers = asked(path, PING, PING)
    assert [answer[:13] for answer in answers] == [b"HTTP/1.1 403 "] * 2
    assert all(answer.endswith(b"\r\n\r\n") for answer in answers)


def test_one_connection_is_served_again_and_again(path: str) -> None:
    assert [answer[:13] for answer in asked(path, GET + GET, GET)] == [b"HTTP/1.1 403 "] * 3


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\n\n", b"PRI * HTTP/2.0\r\n\r\n", b"\x16\x03\x01\r\n\r\n", GET.replace(b"/info", b"//info")],
    ids=["bare LF", "HTTP/2", "TLS", "doubled slash"],
)
def test_what_is_no_request_is_answered_as_such_and_ends_the_connection(path: str, data: bytes) -> None:
    (answer,) = asked(path, data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert message(answer).startswith("request: ")


def test_it_is_answered_as_such_behind_a_good_request_too(path: str) -> None:
    first, second = asked(path, GET + b"GET / HTTP/1.1\n\n")
    assert first.startswith(b"HTTP/1.1 403 ")
    assert second.startswith(b"HTTP/1.1 400 ")


def test_a_request_that_is_cut_short_is_no_request(path: str) -> None:
    assert asked(path, CREATE[:-1]) == [b""]


def test_the_socket_is_everyones_and_replaces_an_old_one(path: str) -> None:
    listening(path).close()
    old = os.stat(path).st_ino
    listening(path).close()
    facts = os.stat(path)
    assert facts.st_ino != old
    assert stat.S_IMODE(facts.st_mode) == 0o666
    assert os.listdir(os.path.dirname(path)) == ["docker.sock"]

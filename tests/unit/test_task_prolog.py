# SPDX-License-Identifier: Apache-2.0
"""The task-prolog's words for slurmstepd, with a small broker behind a real socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm_hooks import task_prolog

Broker = Callable[..., list[bytes]]


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Give it pieces of an answer: one connection is served with them; what was asked is in the list it returns."""
    path = str(tmp_path / "docker.sock")
    monkeypatch.setattr(task_prolog, "RUN", str(tmp_path))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    servers: list[threading.Thread] = []

    def serve(*pieces: bytes) -> list[bytes]:
        asked: list[bytes] = []

        def once() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                for piece in pieces:
                    connection.sendall(piece)

        servers.append(threading.Thread(target=once))
        servers[0].start()
        return asked

    yield serve
    listener.close()
    for server in servers:
        server.join(5)


def answer(status: int, body: str) -> bytes:
    data = body.encode()
    return b"HTTP/1.1 %d \r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What slurmstepd reads after a run of the hook, which always returns 0."""
    assert task_prolog.main() == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def export() -> Callable[[], str]:
    return lambda: f"export DOCKER_HOST=unix://{task_prolog.RUN}/docker.sock"


def test_a_task_learns_where_its_docker_is(
    broker: Broker, capsys: pytest.CaptureFixture[str], export: Callable[[], str]
) -> None:
    asked = broker(answer(200, ""))
    assert said(capsys) == [export()]
    assert asked[0].startswith(b"POST /slurm-hooks/join HTTP/1.1\r\nHost: ")


def test_a_task_of_a_user_with_a_socket_of_his_own_is_told_that_one(
    broker: Broker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = tmp_path / "users" / f"{os.getuid()}.sock"
    own.parent.mkdir()
    (tmp_path / "docker.sock").rename(own)
    broker(answer(200, "served there"))
    assert said(capsys) == [f"export DOCKER_HOST=unix://{own}", "print served there"]


def test_the_brokers_line_is_printed_into_the_job(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    broker(answer(200, "slurm-hooks: docker runs in job 7"))
    assert said(capsys)[1:] == ["print slurm-hooks: docker runs in job 7"]


def test_an_answer_may_come_in_pieces(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    whole = answer(200, "one\ntwo")
    broker(*(whole[n : n + 1] for n in range(len(whole))))
    assert said(capsys)[1:] == ["print one", "print two"]


def test_a_refusal_is_told_in_words(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    broker(answer(403, '{"message":"docker: this process is in no job that slurm-hooks knows"}\n'))
    assert said(capsys)[1:] == [
        "print slurm-hooks: no containers in this job: docker: this process is in no job that slurm-hooks knows"
    ]


@pytest.mark.parametrize("rank", [("SLURM_PROCID", "3"), ("SLURM_NODEID", "1")], ids=lambda rank: rank[0])
def test_only_the_first_task_of_a_step_tells_it(
    broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rank: tuple[str, str]
) -> None:
    monkeypatch.setenv(*rank)
    broker(answer(503, '{"message":"x"}'))
    assert len(said(capsys)) == 1


@pytest.mark.parametrize(
    "pieces",
    [(), (b"HTTP",), (b"HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\nx",), (b"\x00\xff\r\n\r\n",),
     (b"HTTP/1.1 x y\r\n\r\n",),
     (b"HTTP/1.1 200 \r\nContent-Length: many\r\n\r\n",)],
    ids=["nothing", "a piece", "cut short", "bytes", "no status", "no length"],
)  # fmt: skip
def test_whatever_is_answered_the_task_goes_on(
    broker: Broker, capsys: pytest.CaptureFixture[str], export: Callable[[], str], pieces: tuple[bytes, ...]
) -> None:
    broker(*pieces)
    lines = said(capsys)
    assert lines[0] == export()
    assert all(line.startswith("print ") for line in lines[1:])


def test_without_a_broker_the_task_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(task_prolog, "RUN", str(tmp_path / "missing"))
    assert said(capsys)[1:] == [
        "print slurm-hooks: no containers in this job: the broker does not answer (No such file or directory)"
    ]


def test_a_broker_that_hangs_costs_a_moment(
    broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_prolog, "SECONDS", 0.05)  # nobody accepts: the backlog holds the connection
    assert said(capsys)[1:] == ["print slurm-hooks: no containers in this job: the broker does not answer (timed out)"]

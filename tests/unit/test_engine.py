# SPDX-License-Identifier: Apache-2.0
"""A dockerd that hangs in the middle is asked nothing more; one that is slow at one thing, as on a busy node, is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slurm_hooks import engine
from slurm_hooks.errors import NodeFault

VERSION = b'{"ApiVersion": "1.44", "MinAPIVersion": "1.24"}'


@dataclass
class Dockerd:
    """A socket that tells its version, and answers what it `knows`; what it was asked."""

    path: str
    knows: list[bytes] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        while data := client.recv(65536):
            self.asked.append(data.split(b" HTTP/")[0])
            if b"/version" in data or any(known in data for known in self.knows):
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                client.sendall(head % len(VERSION) + VERSION)

    @property
    def removals(self) -> int:
        return len([line for line in self.asked if line.startswith(b"DELETE")])


@pytest.fixture
def dockerd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dockerd]:
    monkeypatch.setattr(engine, "REQUEST_SECONDS", 1)
    made = Dockerd(str(tmp_path / "docker.sock"))

    def accept() -> None:
        while True:
            try:
                client = door.accept()[0]
            except OSError:
                return
            threading.Thread(target=made.serve, args=(client,), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(made.path)
        door.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield made
        door.shutdown(socket.SHUT_RDWR)


IDS = [f"{number:064x}" for number in range(200)]


def test_two_hundred_containers_wait_for_a_silent_dockerd_once(
    dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PING_SECONDS", 1)
    met = engine.Engine(dockerd.path)
    began = time.monotonic()
    problems = met.remove(IDS)
    with pytest.raises(NodeFault):
        met.containers("1-0-abc")
    assert len(problems) == 200 and time.monotonic() - began < 8
    assert dockerd.removals <= engine.PARALLEL


def test_one_removal_that_takes_long_does_not_keep_the_others(dockerd: Dockerd) -> None:
    dockerd.knows = [b"/_ping", *(f"DELETE /v1.44/containers/{one}".encode() for one in IDS[1:])]
    met = engine.Engine(dockerd.path)
    assert [problem[:12] for problem in met.remove(IDS)] == ["0" * 12]
    assert dockerd.removals == 200
    dockerd.knows.append(b"DELETE")
    assert met.remove(IDS[:1]) == []

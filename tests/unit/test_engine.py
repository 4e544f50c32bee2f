# SPDX-License-Identifier: Apache-2.0
"""A dockerd that hangs in the middle: the first request without an answer is the last one asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import engine
from slurm_hooks.errors import NodeFault

VERSION = b'{"ApiVersion": "1.44", "MinAPIVersion": "1.24"}'


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A socket that tells its version and never answers another request; what it was asked."""
    asked: list[bytes] = []
    path = str(tmp_path / "docker.sock")

    def serve(client: socket.socket) -> None:
        while data := client.recv(65536):
            asked.append(data.split(b" HTTP/")[0])
            if b"/version" in asked[-1]:
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                client.sendall(head % len(VERSION) + VERSION)

    def accept() -> None:
        while True:
            try:
                client = door.accept()[0]
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield path, asked
        door.shutdown(socket.SHUT_RDWR)


def test_two_hundred_containers_wait_for_a_silent_dockerd_once(
    silent: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "REQUEST_SECONDS", 1)
    path, asked = silent
    dockerd = engine.Engine(path)
    began = time.monotonic()
    problems = dockerd.remove([f"{number:064x}" for number in range(200)])
    with pytest.raises(NodeFault):
        dockerd.containers("1-0-abc")
    assert len(problems) == 200 and time.monotonic() - began < 8
    assert len([line for line in asked if line.startswith(b"DELETE")]) <= engine.PARALLEL

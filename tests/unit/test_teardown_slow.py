# SPDX-License-Identifier: Apache-2.0
"""A dockerd that answers and is slow: what it could not end at first, it is asked for once more."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import teardown
from slurm_hooks.cgroups.v1 import V1

CONTAINER = "ab" * 32


class Dockerd(socketserver.ThreadingUnixStreamServer):
    """One container; the first DELETE waits as long as an Epilog does for all, and then fails."""

    daemon_threads = True
    containers: tuple[str, ...] = (CONTAINER,)
    asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Dockerd

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if "/version" in self.path:
            self.answer(200, {"ApiVersion": "1.44", "MinAPIVersion": "1.24"})
        else:
            self.answer(200, [{"Id": one} for one in self.server.containers])

    def do_DELETE(self) -> None:
        self.server.asked += 1
        if self.server.asked == 1:
            time.sleep(teardown.DOCKER_SECONDS)  # as moby does, for an exit event that comes late
            self.answer(500, {"message": "tried to kill container, but did not receive an exit event"})
        else:
            self.server.containers = ()
            self.answer(200, {})

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


@pytest.fixture
def dockerd(tmp_path: Path) -> Iterator[Dockerd]:
    with Dockerd(str(tmp_path / "docker.sock"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_dockerd_that_answers_late_is_asked_once_more(dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "DOCKER_SECONDS", 1.0)
    node = teardown.Node(V1("/nowhere"), str(dockerd.server_address))
    teardown.RemoveContainers("1-0-abc", 1).do(node)
    assert (dockerd.containers, dockerd.asked) == ((), 2)
    assert node.engine is not None


class Kernel(V1):
    """A hierarchy in which a container's processes do not end."""

    def processes(self, path: str) -> list[int]:
        return [4242]


def test_what_the_kernel_does_not_let_go_dockerd_is_not_asked_for(
    dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "DOCKER_SECONDS", 0.5)
    node = teardown.Node(Kernel("/nowhere"), str(dockerd.server_address))
    began = time.monotonic()
    teardown.RemoveContainers("1-0-abc", 1, (f"/slurm/uid_1001/job_1/{CONTAINER}",)).do(node)
    assert (dockerd.containers, dockerd.asked) == ((CONTAINER,), 0)
    assert 0.5 <= time.monotonic() - began < teardown.AGAIN_SECONDS

# SPDX-License-Identifier: Apache-2.0
"""A dockerd as the Epilog meets it: ping, a list of containers, removals; and what it leaves unanswered."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Dockerd(socketserver.ThreadingUnixStreamServer):
    """Its containers by id, and what it was asked: `DELETE /v1.44/containers/…`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.path = path
        self.containers: tuple[str, ...] = ()
        self.asked: list[str] = []
        self.silent: Callable[[str], bool] = lambda asked: False  # to what it gives no answer
        self.over = threading.Event()

    @property
    def removals(self) -> int:
        """How often it was asked to remove a container."""
        return len([asked for asked in self.asked if asked.startswith("DELETE")])

    def remove(self, container: str) -> tuple[int, object]:
        """DELETE /containers/{id}: status and JSON value."""
        self.containers = tuple(one for one in self.containers if one != container)
        return 200, {}


class Handler(http.server.BaseHTTPRequestHandler):
    server: Dockerd
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, value: object) -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Api-Version", "1.44")
        self.end_headers()
        self.wfile.write(body)

    def _is_silent(self) -> bool:
        asked = f"{self.command} {self.path}"
        self.server.asked.append(asked)
        if self.server.silent(asked):
            self.server.over.wait()
            return True
        return False

    def do_GET(self) -> None:
        if self._is_silent():
            return
        if "/_ping" in self.path:
            self._answer(200, "OK")
        else:
            self._answer(200, [{"Id": one} for one in self.server.containers])

    def do_DELETE(self) -> None:
        if not self._is_silent():
            self._answer(*self.server.remove(self.path.partition("?")[0].rpartition("/")[2]))

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


@contextmanager
def serving(made: Dockerd) -> Iterator[Dockerd]:
    """Until the end of the block."""
    with made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.over.set()
        made.shutdown()

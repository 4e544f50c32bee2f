# SPDX-License-Identifier: Apache-2.0
"""A registry whose image never comes to its end, so that a pull is under way for as long as somebody wants it.

Runs on the node, as root, for a round with the shape `pull`; the site's configuration lets jobs pull from it meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.campaign import world
from tests.campaign.auditor import REGISTRY as PORT

IMAGE = f"127.0.0.1:{PORT}/campaign/endless:1"
SITE = Path("/etc/slurm-hooks/slurm-hooks.toml")
KEPT = Path("/run/lab-campaign.toml")
SIZE = 100_000_000  # bytes, as the manifest has it; they drip
LAYER = f"sha256:{'5a' * 32}"
IMAGE_CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [LAYER]}}
).encode()
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(IMAGE_CONFIG),
            "digest": digest(IMAGE_CONFIG),
        },
        "layers": [
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": SIZE, "digest": LAYER},
        ],
    }
).encode()


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the registry's API, version 2."""

    def do_GET(self) -> None:
        if "/manifests/" in self.path:
            self._answer(MANIFEST, MANIFEST_TYPE)
        elif self.path.endswith(digest(IMAGE_CONFIG)):
            self._answer(IMAGE_CONFIG, "application/octet-stream")
        elif "/blobs/" in self.path:
            self._drip()
        else:
            self._answer(b"{}", "application/json")

    do_HEAD = do_GET

    def _answer(self, body: bytes, kind: str, size: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _drip(self) -> None:
        self._answer(b"", "application/octet-stream", SIZE)
        while True:
            try:
                self.wfile.write(bytes(2048))
            except OSError:
                return  # nobody wants it any more
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def offered() -> Iterator[None]:
    """The registry runs, and jobs may pull from it. Raises Campaign."""
    server = subprocess.Popen([sys.executable, "-B", "-m", "tests.campaign.pulls"], start_new_session=True)
    try:
        world.must_until(lambda: world.listens(PORT), "the registry")
        KEPT.write_text(SITE.read_text())
        SITE.write_text(f"{SITE.read_text()}\n[images]\nregistries = ['127.0.0.1:{PORT}']\n")
        world.must("slurm-hooks", "config")
        yield
    finally:
        withdraw()
        server.kill()
        server.wait()


def withdraw() -> None:
    """The site's configuration as it was."""
    if KEPT.exists():
        SITE.write_text(KEPT.read_text())
        KEPT.unlink()
        world.run("slurm-hooks", "config")


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()

# SPDX-License-Identifier: Apache-2.0
"""A socket between broker and dockerd that holds one kind of request, so that the broker can be killed right then.

It is the configuration's `[docker] socket` meanwhile. Dockerd is told the held request whole, also when its sender
has died: that is the case that matters.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.slurm import Cluster

PROGRAM = r"""
import os, re, socket, sys, threading, time
GATE, DOCKERD, WHEN, WHAT, *REWRITE = sys.argv[1:]
TEXTS = [text.encode() for text in REWRITE]
def held():
    open(GATE + ".held", "w").close()
    while not os.path.exists(GATE + ".go"): time.sleep(0.02)
def pump(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError: pass
def serve(client):
    first = client.recv(65536)
    line = first.split(b"\r\n")[0].decode("latin-1")
    if WHEN == "rewritten" and line.startswith("POST ") and WHAT in line:
        head, end, body = first.partition(b"\r\n\r\n")
        new = body
        for old, other in zip(TEXTS[::2], TEXTS[1::2]): new = new.replace(old, other)
        longer = len(new) - len(body)
        length = lambda found: found[1] + b"%d" % (int(found[2]) + longer)
        first = re.sub(rb"(?i)(content-length: )(\d+)", length, head) + end + new
    chosen = WHEN != "rewritten" and line.startswith("POST ") and WHAT in line and not os.path.exists(GATE + ".held")
    daemon = socket.socket(socket.AF_UNIX)
    daemon.connect(DOCKERD)
    if chosen and WHEN == "asked": held()
    daemon.sendall(first)
    if chosen:
        answer = b""
        while data := daemon.recv(65536): answer += data
        if WHEN == "answered": held()
        try: client.sendall(answer)
        except OSError: pass
    else:
        inward = threading.Thread(target=pump, args=(client, daemon), daemon=True)
        inward.start(); pump(daemon, client); inward.join()
    client.close(); daemon.close()
door = socket.socket(socket.AF_UNIX)
door.bind(GATE); door.listen(64)
open(GATE + ".pid", "w").write(str(os.getpid()))
while True: threading.Thread(target=serve, args=door.accept()[:1], daemon=True).start()
"""


class Gate:
    """The held request: wait for it, let it through."""

    def __init__(self, cluster: Cluster, path: str) -> None:
        self._cluster, self._path = cluster, path

    def wait_until_held(self) -> None:
        self._cluster.wait(self._cluster.node, f"[ -e {self._path}.held ]", "the request at the gate")

    def open(self) -> None:
        self._cluster.must(self._cluster.node, f"touch {self._path}.go")


@contextmanager
def gate(cluster: Cluster, when: str, what: str, *rewrites: tuple[str, str]) -> Iterator[Gate]:
    """Hold the next POST whose first line contains `what`, when it is "asked", or when dockerd has "answered" it.

    "rewritten": hold none, and tell dockerd the second text of each pair where such a POST has the first.
    """
    node, path = cluster.node, "/run/lab-gate"
    cluster.must(node, f"rm -f {path}*; cat > {path}.py", stdin=PROGRAM)
    dockerd = "/run/slurm-hooks-docker/docker.sock"
    texts = [text for pair in rewrites for text in pair]
    words = shlex.join([f"{path}.py", path, dockerd, when, what, *texts])
    start = f"setsid --fork /usr/bin/python3 -I {words} </dev/null >/dev/null 2>&1"
    cluster.must(node, start)
    cluster.wait(node, f"[ -s {path}.pid ]", "the gate")
    try:
        with cluster.site(node, f'[docker]\nsocket = "{path}"'):
            cluster.service(node, "restart", "broker")
            yield Gate(cluster, path)
    finally:
        cluster.must(node, f"touch {path}.go")
        cluster.service(node, "restart", "broker")
        cluster.must(node, f"kill $(cat {path}.pid); rm -f {path}*")

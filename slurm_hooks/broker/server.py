# SPDX-License-Identifier: Apache-2.0
"""The broker: accept, identify the peer by the kernel, serve. The only asyncio loop; one task a connection."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from slurm_hooks import config, events
from slurm_hooks.broker import handlers, keeper, relay
from slurm_hooks.broker.connection import Connection
from slurm_hooks.broker.peers import Peer, Registry
from slurm_hooks.errors import BadConfig
from slurm_hooks.settings import Settings

SOCKET = f"{config.RUN}/docker.sock"
BACKLOG = 256
CONNECTIONS_OF_A_USER = 1024  # a docker run has three; nobody may take all descriptors from the others
REFUSALS_LOGGED = 100  # lines for each job
REFUSALS_KEPT = 10_000  # jobs that are counted


class Broker:
    """What all connections share: the settings, dockerd, the registry of jobs. No state that a restart would lose."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._upstream: relay.Upstream | None = None
        self._settings: Settings | None = None
        self._stamp: list[int] = []
        self._refusals: dict[str, int] = {}
        self._tasks: dict[int, set[asyncio.Task[None] | None]] = {}  # of connections, by the peer's uid

    @contextmanager
    def serving(self, uid: int) -> Iterator[bool]:
        """A connection, from its beginning to its end; False where its user has too many already.

        The loop forgets a connection whose client has half-closed it, and a task that waits for dockerd then has
        no owner (streams refer to their readers weakly): not kept here, the garbage collector would end it.
        """
        tasks = self._tasks.setdefault(uid, set())
        task = asyncio.current_task()
        tasks.add(task)
        try:
            yield len(tasks) <= CONNECTIONS_OF_A_USER
        finally:
            tasks.discard(task)
            if not tasks:
                self._tasks.pop(uid, None)

    def settings(self) -> Settings:
        """The site's configuration, read again when the file changed. Raises BadConfig: containers are off."""
        now = config.stamp()
        if self._settings is None or now != self._stamp:
            self._settings = None
            self._settings, self._stamp = config.load(), now
        return self._settings

    async def upstream(self) -> relay.Upstream:
        """The jobs' dockerd; found anew after it failed, as its version may have changed. Raises NodeFault."""
        if self._upstream is None:
            self._upstream = await relay.connect(self.settings().docker.socket)
        return self._upstream

    def known_upstream(self) -> relay.Upstream | None:
        """The jobs' dockerd, if it was found already."""
        return self._upstream

    def may_log_refusal(self, of: str) -> bool:
        """Is one more refusal of a job (or of a uid outside jobs) worth a line? A loop must not fill the disk."""
        self._refusals[of] = self._refusals.get(of, 0) + 1
        if len(self._refusals) > REFUSALS_KEPT:
            self._refusals.pop(next(iter(self._refusals)))
        return self._refusals.get(of, 0) <= REFUSALS_LOGGED

    def forget_upstream(self) -> None:
        """dockerd failed: look again at the next request."""
        self._upstream = None


async def _accepted(broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        peer = Peer(writer.get_extra_info("socket"))
    except (ProcessLookupError, OSError):
        writer.close()
        return
    try:
        with broker.serving(peer.uid) as admitted:
            if admitted:
                await Connection(broker, handlers.handle, reader, writer, peer).serve()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        peer.close()
        writer.close()


def listening(path: str = SOCKET) -> socket.socket:
    """The socket, in place at once: bound under another name, then renamed over an old one."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    temporary = f"{path}.new"
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(temporary)
    os.chmod(temporary, 0o666)  # safe for all: who asks is read from the kernel, and only jobs are served
    listener.listen(BACKLOG)
    os.rename(temporary, path)
    return listener


async def run(path: str = SOCKET) -> None:
    """Serve until SIGTERM or SIGINT. Containers live on; attached clients end with us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # systemd gives 1024, for programs that use select(2)
    broker = Broker()
    try:
        broker.settings()
    except BadConfig as error:  # serve all the same: a user must read why containers are off
        events.record("config-broken", why=str(error))
        print(f"<3>slurm-hooks: {error}", file=sys.stderr)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _accepted(broker, reader, writer),
        sock=listening(path),
        limit=relay.CHUNK,
        backlog=BACKLOG,
    )
    beside = asyncio.create_task(keeper.run(broker.upstream, broker.forget_upstream))
    events.record("broker-start", pid=os.getpid())
    _notify("READY=1")
    print(f"slurm-hooks: the broker serves {path}", flush=True)
    await stop.wait()
    beside.cancel()
    server.close()


def _notify(state: str) -> None:
    """sd_notify(3): tell systemd, where it started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            channel.sendall(state.encode())


def main() -> int:
    """The program `slurm-hooks broker`."""
    asyncio.run(run())
    return 0

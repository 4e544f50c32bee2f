# SPDX-License-Identifier: Apache-2.0
"""The broker: accept, identify the peer by the kernel, serve. The only asyncio loop; one task a connection."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections import Counter
from contextlib import suppress

from slurm_hooks import config, events
from slurm_hooks.broker import handlers, keeper, relay, upgrade
from slurm_hooks.broker.channel import Channel
from slurm_hooks.broker.connection import Connection
from slurm_hooks.broker.door import Door, listening
from slurm_hooks.broker.peers import Peer, Registry
from slurm_hooks.broker.sockets import Sockets
from slurm_hooks.broker.turns import Turns
from slurm_hooks.errors import BadConfig
from slurm_hooks.settings import Settings

SOCKET = f"{config.RUN}/docker.sock"
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
        self.turns = Turns()
        self.pending: Counter[int] = Counter()
        self.of_jobs: Counter[str] = Counter()
        self.leaving = False
        self._inside: dict[asyncio.Task[None], Connection] = {}

    def door(self) -> Door:
        """The door to this broker; open it to sockets."""
        door = Door(self.registry.has_jobs, lambda connection, uid: self._enter(door, connection, uid))
        return door

    def _enter(self, door: Door, connection: socket.socket, uid: int) -> None:
        """A connection that has begun to speak gets a task of its own, which is kept here: the loop forgets it."""
        try:
            peer = Peer(connection)
        except OSError:  # gone already, or no descriptor is left for its pidfd
            connection.close()
            door.left(uid)
            return
        channel = Channel(connection)
        served = Connection(self, handlers.handle, channel, peer)
        task = asyncio.get_running_loop().create_task(self._serve(served))
        self._inside[task] = served

        def over(task: asyncio.Task[None]) -> None:
            del self._inside[task]
            channel.close()
            peer.close()
            door.left(uid)

        task.add_done_callback(over)

    async def leave(self, door: Door) -> None:
        """Serve what is open to its end; what is idle ends now."""
        self.leaving = True
        door.shut_all()
        for task, connection in list(self._inside.items()):
            if connection.idle:
                task.cancel()
        while door.inside:
            await asyncio.sleep(1.0)

    async def _serve(self, connection: Connection) -> None:
        with suppress(ConnectionError):
            await connection.serve()

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


async def run(path: str = SOCKET) -> None:
    """Serve until SIGTERM or SIGINT; containers live on, attached clients end with us. SIGHUP: see upgrade.py."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # systemd gives 1024, for programs that use select(2)
    broker = Broker()
    try:
        broker.settings()
    except BadConfig as error:  # serve all the same: a user must read why containers are off
        events.record("config-broken", why=str(error))
        print(f"<3>slurm-hooks: {error}", file=sys.stderr)
    loop = asyncio.get_running_loop()
    stop, renew = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, renew.set)
    door = broker.door()
    sockets = Sockets(door, broker.registry)
    sockets.renew()  # before everybody's: a broker that makes way for us does so when that one is ours
    sockets.sweep()
    door.open(listening(path), everybodys=True)
    beside = asyncio.create_task(keeper.run(broker.upstream, broker.forget_upstream, broker.settings, sockets.keep))
    events.record("broker-start", pid=os.getpid())
    _notify(f"MAINPID={os.getpid()}\nREADY=1")  # after an upgrade systemd still takes the old one for the main process
    print(f"slurm-hooks: the broker serves {path}", flush=True)
    leaving = asyncio.create_task(_renewed(broker, door, sockets, beside, renew, path))
    await asyncio.wait((asyncio.create_task(stop.wait()), leaving), return_when=asyncio.FIRST_COMPLETED)
    beside.cancel()
    door.close()


async def _renewed(
    broker: Broker, door: Door, sockets: Sockets, beside: asyncio.Task[None], renew: asyncio.Event, path: str
) -> None:
    """When another broker is asked for and has come, until the end of our last stream."""
    while True:
        await renew.wait()
        renew.clear()
        sockets.hold()
        if await upgrade.taken_over(path):
            break
        sockets.resume()
        events.record("upgrade-failed", why=f"no new broker took {path} in {upgrade.TAKEN_SECONDS:.0f} s")
    beside.cancel()
    events.record("broker-leaves", pid=os.getpid(), connections=door.inside.total())
    await broker.leave(door)


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

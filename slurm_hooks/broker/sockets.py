# SPDX-License-Identifier: Apache-2.0
"""A listening socket for each user with a job here, since the kernel's queue of connect(2) is one a socket.

    /run/slurm-hooks/docker.sock        everybody's: refusals in words, and jobs whose user has none of his own yet
    /run/slurm-hooks/users/<uid>.sock   that user's alone (0600), from his first job's Prolog to his last one's Epilog
    /run/slurm-hooks/users/<uid>.ran    he has started a container meanwhile: a TaskEpilog has something to ask

It is made when the record appears, some milliseconds after the Prolog has written it and well before the first task.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import chdir, suppress

from slurm_hooks import config, events, linux
from slurm_hooks.broker.door import BACKLOG, Door
from slurm_hooks.broker.peers import Registry

LOOK_SECONDS = 10.0  # should the kernel's word of a change ever be missed
TRY_SECONDS, TRIES = 0.01, 100  # a Prolog makes the record's directory first, then what is in it


class Sockets:
    """The users' sockets of this broker, kept to the records of jobs."""

    def __init__(self, door: Door, registry: Registry, run: str = config.RUN) -> None:
        self._door, self._registry = door, registry
        self._records, self._top, self._making = f"{run}/jobs", f"{run}/users", f"{run}/making/sockets"
        self._open: dict[int, socket.socket] = {}  # by uid
        self._held = False

    def path(self, uid: int) -> str:
        return f"{self._top}/{_names(uid)[0]}"

    def renew(self) -> bool:
        """One for each user with a record, none for another; False: there are records that cannot be read (yet)."""
        users, whole = self._registry.users()
        if self._held:
            return True
        for uid in users - self._open.keys():
            try:
                self._open[uid] = self._made(uid)
            except OSError as error:  # his jobs use everybody's socket
                events.record("socket-fault", uid=uid, why=str(error))
                continue
            self._door.open(self._open[uid], everybodys=False)
        for uid in self._open.keys() - users:
            for name in _names(uid):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._top}/{name}")
            self._door.shut(self._open.pop(uid))
        return whole

    def _made(self, uid: int) -> socket.socket:
        """The user's socket, in place at once. connect(2) asks for write permission: nobody else can fill its queue.

        A file of the user's without CAP_CHOWN: it is made with his file system uid, in a directory where everybody
        may make files and which only root can reach, as the one above it is closed. Raises OSError.
        """
        name = f"{uid}.sock"
        os.makedirs(self._top, 0o755, exist_ok=True)
        os.makedirs(os.path.dirname(self._making), 0o700, exist_ok=True)
        os.makedirs(self._making, exist_ok=True)
        os.chmod(self._making, 0o733)
        with suppress(FileNotFoundError):
            os.unlink(f"{self._making}/{name}")  # of a broker that was killed just here
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with chdir(self._making), linux.as_owner(uid):
                listener.bind(name)
            listener.listen(BACKLOG)
            os.rename(f"{self._making}/{name}", self.path(uid))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        return listener

    def sweep(self) -> None:
        """Remove what a broker before us has left of users who have no job here any more."""
        ours = {name for uid in self._open for name in _names(uid)}
        with suppress(FileNotFoundError):
            for name in os.listdir(self._top):
                if name not in ours:
                    os.unlink(f"{self._top}/{name}")

    def hold(self) -> None:
        """Another broker is about to make them: leave them alone."""
        self._held = True

    def resume(self) -> None:
        """It did not come, and may have taken some of them: make all anew."""
        self._held = False
        for uid in list(self._open):
            self._door.shut(self._open.pop(uid))
        self.renew()

    async def keep(self) -> None:
        """For ever: follow the records."""
        os.makedirs(self._records, 0o700, exist_ok=True)
        changed = asyncio.Event()
        changed.set()
        watch = linux.watch(self._records)
        loop = asyncio.get_running_loop()
        loop.add_reader(watch, changed.set)
        try:
            while True:
                tries = TRIES if changed.is_set() else 1  # a record that stays damaged is not worth more
                with suppress(BlockingIOError):
                    os.read(watch, 65536)
                changed.clear()
                for _ in range(tries):
                    if self.renew():
                        break
                    await asyncio.sleep(TRY_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await changed.wait()
        finally:
            loop.remove_reader(watch)
            os.close(watch)


def _names(uid: int) -> tuple[str, str]:
    return f"{uid}.sock", f"{uid}.ran"


def mark(uid: int, run: str = config.RUN) -> None:
    """A container of the user's is about to start: from here on his TaskEpilogs ask for an account."""
    try:
        os.close(os.open(f"{run}/users/{_names(uid)[1]}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    except OSError:
        pass  # he has no socket of his own, or the run directory is full: no account

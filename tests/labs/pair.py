# SPDX-License-Identifier: Apache-2.0
"""Two nodes like lab (b)'s, each with a kernel and a systemd of its own, and a cable between them: the first one is the
controller too. The cable is a pair of connected sockets, so nothing of this machine's is on it."""

from __future__ import annotations

import socket

from tests.labs.base import Done, LabMissing
from tests.labs.uml import Uml


class End(Uml):
    """One of the two."""

    def __init__(self, host: str, which: str) -> None:
        self.controller, self.nodes = host, (host,)
        super().__init__(f"pair{which}-{host}")
        self.kernel = ("lab.pair", f"systemd.hostname={host}")


class Pair:
    """The lab: see base.Lab."""

    name = "pair"
    controller = "uml1"
    nodes: tuple[str, ...] = ("uml1", "uml2")
    users: tuple[str, ...] = Uml.users

    def __init__(self, which: str = "") -> None:
        self._ends = {host: End(host, which) for host in self.nodes}

    def up(self) -> None:
        ends = self._ends.values()
        if all(end.stands() for end in ends):
            return
        self.down()
        for end, plug in zip(ends, socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM), strict=True):
            with plug:
                plug.settimeout(0)  # a kernel never waits in a read
                end.cable = plug
                end.start()
            end.cable = None
        for end in ends:
            end.wait()

    def alive(self) -> bool:
        return all(end.alive() for end in self._ends.values())

    def down(self) -> None:
        for end in self._ends.values():
            end.down()

    def reboot(self) -> None:
        raise LabMissing("pair: a cable ends with the kernel at its end")

    def sh(self, host: str, script: str, *, user: str = "root", timeout: float = 60, stdin: str = "") -> Done:
        return self._ends[host].sh(host, script, user=user, timeout=timeout, stdin=stdin)

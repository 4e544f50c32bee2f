# SPDX-License-Identifier: Apache-2.0
"""Holds one running node: starts its kernel, owns the other ends of its serial lines.

    keeper.py RUN PROGRAM ARGUMENT...

Started as process 1 of a pid and a mount namespace, so that whatever ends it, a kill
included, ends every process of the node and takes every mount away. PROGRAM becomes
the kernel: $BELL is a descriptor for the node's ttyS0, $TTY one for its ttyS1, and RUN/mail
a directory that it shows the node as /run/lab. Where we have a $CABLE, the kernel has it.

    RUN/agent.sock   one connection a command: a line of JSON there, one back
    RUN/tty.sock     one connection at a time, spliced to the node's ttyS1

What the kernel and systemd say goes to standard output.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


class Agent:
    """What the node's agent is told and answers, by a directory and a bell: see agent.py."""

    def __init__(self, bell: socket.socket, mail: Path) -> None:
        self.bell = bell
        self.mail = mail
        self.ready = threading.Event()
        self.numbers = itertools.count()
        self.rung: dict[str, threading.Event] = {}

    def listen(self) -> None:
        for line in self.bell.makefile():
            self.rung.get(line.strip(), self.ready).set()

    def serve(self, client: socket.socket) -> None:
        with client:
            if not (command := client.makefile("rb").readline()):
                return  # it only wanted to know who we are
            self.ready.wait()
            number = str(next(self.numbers))
            done = self.rung[number] = threading.Event()
            ask, answer = self.mail / f"{number}.ask", self.mail / f"{number}.answer"
            ask.write_bytes(command)
            self.bell.sendall(f"{number}\n".encode())
            done.wait()
            client.sendall(answer.read_bytes())
            ask.unlink()
            answer.unlink()
            del self.rung[number]


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(4096):
            target.sendall(data)
    except OSError:
        pass


def bound(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(64)
    return server


def serve_agent(server: socket.socket, bell: socket.socket, mail: Path) -> None:
    agent = Agent(bell, mail)
    threading.Thread(target=agent.listen, daemon=True).start()
    while True:
        threading.Thread(target=agent.serve, args=[server.accept()[0]], daemon=True).start()


def serve_tty(server: socket.socket, line: socket.socket) -> None:
    clients: list[socket.socket] = []

    def out() -> None:
        while data := line.recv(4096):
            for client in clients:
                try:
                    client.sendall(data)
                except OSError:
                    pass

    threading.Thread(target=out, daemon=True).start()
    while True:
        with server.accept()[0] as client:
            clients.append(client)
            copy(client, line)
            clients.remove(client)


def main(run: Path, program: Sequence[str]) -> int:
    agent, terminal = bound(run / "agent.sock"), bound(run / "tty.sock")  # first: by these we are found
    mail = run / "mail"
    mail.mkdir(mode=0o700, exist_ok=True)
    # Letters are nobody's to keep, and no disk's to write.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", mail], check=True)
    ours0, theirs0 = socket.socketpair()
    ours1, theirs1 = socket.socketpair()
    kernel = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,  # a kernel polls its console, which a file cannot be
        pass_fds=[theirs0.fileno(), theirs1.fileno(), *map(int, os.environ.get("CABLE", "").split())],
        env={**os.environ, "BELL": str(theirs0.fileno()), "TTY": str(theirs1.fileno())},
    )
    theirs0.close()
    theirs1.close()
    threading.Thread(target=serve_agent, args=[agent, ours0, mail], daemon=True).start()
    threading.Thread(target=serve_tty, args=[terminal, ours1], daemon=True).start()
    assert kernel.stdout
    while said := os.read(kernel.stdout.fileno(), 4096):
        os.write(1, said)
    return kernel.wait()


if __name__ == "__main__":
    os._exit(main(Path(sys.argv[1]), sys.argv[2:]) & 0xFF)

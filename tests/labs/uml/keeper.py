# SPDX-License-Identifier: Apache-2.0
"""Holds one running node: starts its kernel, owns the other ends of its serial lines.

Started as process 1 of a pid and a mount namespace, so that whatever ends it, a kill
included, ends every process of the node and takes every mount away.

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
from pathlib import Path

MEMORY = 2048  # MiB

KERNEL = f"""
/linux.uml mem={MEMORY}M umid=node uml_dir=/tmp/ ubd0=/run/disk.cow,/image/disk.img root=/dev/ubda rw
hostname=uml1 con=null con0=null,fd:1 seccomp=auto noreboot panic=-1 TERM=dumb
""".split()


def mounts(image: Path, source: Path, run: Path) -> Path:
    """The kernel's world: its libc is newer than the host's, so it lives in a root of its own."""
    root = image / "root"
    todo: list[list[str | Path]] = [
        # The node's memory is a file here. It must be executable: user code is mapped from it.
        ["-t", "tmpfs", "-o", f"size={MEMORY + 256}m,mode=0700", "tmpfs", root / "tmp"],
        ["-t", "proc", "proc", root / "proc"],
        # Not all of /dev: the node's root can mount what is here (hostfs).
        ["--bind", "/dev/null", root / "dev/null"],
        ["--bind", "/dev/random", root / "dev/random"],
        ["--bind", run, root / "run"],
        ["--bind", "-o", "ro", image, root / "image"],
        ["--bind", "-o", "ro", source, root / "src"],
    ]
    for what in todo:
        subprocess.run(["mount", *what], check=True)
    return root


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


def main(image: Path, source: Path, run: Path) -> int:
    agent, terminal = bound(run / "agent.sock"), bound(run / "tty.sock")  # first: by these we are found
    root = mounts(image, source, run)
    mail = root / "tmp/mail"
    mail.mkdir(mode=0o700)
    # The kernel and the user code that it runs are two threads which hand over to each other at each
    # system call: on one processor that is a third faster than across two.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ours0, theirs0 = socket.socketpair()
    ours1, theirs1 = socket.socketpair()
    kernel = subprocess.Popen(
        [
            "chroot",
            root,
            *KERNEL,
            *(image / "security").read_text().split(),
            f"ssl0=fd:{theirs0.fileno()}",
            f"ssl1=fd:{theirs1.fileno()}",
        ],
        stdout=subprocess.PIPE,  # the kernel polls its console, which a file cannot be
        pass_fds=[theirs0.fileno(), theirs1.fileno()],
        env={**os.environ, "TMPDIR": "/tmp", "HOME": "/tmp"},
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
    os._exit(main(*(Path(argument) for argument in sys.argv[1:4])) & 0xFF)

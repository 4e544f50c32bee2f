# SPDX-License-Identifier: Apache-2.0
"""Lab (b): one real node, with systemd, cgroup v2 and AppArmor (or SELinux) under a kernel of its own.

The kernel is user-mode Linux: a program. The node is controller and compute node in one;
it runs as a process of its own (uml/keeper.py), so what `up` started another process can use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path

from tests.labs.base import Done, LabMissing

HERE = Path(__file__).with_suffix("")
SOURCE = HERE.parents[2]
RUN = "slurm-hooks-uml"  # a node's sockets and console, in the temporary directory
CACHE = Path(os.environ.get("SLURM_HOOKS_CACHE", "/var/cache/slurm-hooks"))


class NodeLost(Exception):
    """The node does not answer, or came up wrong; the text ends with what it said last."""


def say(text: str) -> None:
    print(f"uml: {text}", file=sys.stderr, flush=True)


def why_not() -> str | None:
    """Why this machine cannot run the lab; None: it can."""
    if platform.machine() != "x86_64":
        return f"Debian's user-mode-linux is for x86_64, this is {platform.machine()}"
    if os.geteuid() != 0:
        return "it needs root: namespaces, mounts, a disk image with owners"
    for program in ("apt-get", "dpkg-deb", "mkfs.ext4", "unshare"):
        if not shutil.which(program):
            return f"no {program} here"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
        capture_output=True,
        text=True,
    )
    return f"no namespaces of our own: {tried.stderr.strip()}" if tried.returncode else None


def digest() -> str:
    """Of what a node is made of at its boot. A running node made of something else is an old one."""
    sources = (
        "Makefile",
        "etc",
        "slurm_hooks",
        "tests/labs/agent.py",
        "tests/labs/slurm",
        "tests/labs/tree",
        "tests/labs/uml",
        "tests/labs/image.sh",
    )
    every = (file for source in sources for file in (SOURCE / source, *(SOURCE / source).rglob("*")))
    known = hashlib.sha256()
    for file in sorted(file for file in every if file.is_file() and file.suffix != ".pyc"):
        known.update(f"{file} {file.stat().st_mode} ".encode() + file.read_bytes())
    return known.hexdigest()


class Uml:
    """The lab: see base.Lab."""

    name = "uml"
    controller = "uml1"
    nodes: tuple[str, ...] = ("uml1",)
    users: tuple[str, ...] = ("ann", "bob")

    def __init__(self, which: str = "", security: str = "apparmor") -> None:
        self.security = security
        self.run = Path(tempfile.gettempdir()) / f"{RUN}{which and '-'}{which}"
        self.console = self.run / "console.log"
        self._made_of = self.run / "made-of"

    def up(self) -> None:
        made_of = digest()
        if self._keeper() and self._made_of.read_text() == made_of and not self._not_ready():
            return
        self.down()
        if reason := why_not():
            raise LabMissing(reason)
        image = self._image()
        started = time.monotonic()
        say(f"booting; its console: {self.console}")
        self.run.mkdir(mode=0o700)
        self._made_of.write_text(made_of)
        self._boot(image)
        if reason := self._not_ready():
            raise NodeLost(f"not ready for jobs\n{reason}")
        say(f"ready after {time.monotonic() - started:.1f} s")

    def reboot(self) -> None:
        image = self._image()
        if keeper := self._keeper():
            # No unit is stopped. The disk has no journal, so what is not on it would be lost in another way each time.
            with suppress(NodeLost):
                self._ask("sync; poweroff --force", "root", 5, "")
            self._end(keeper, grace=20)
        for name in ("agent", "tty"):
            (self.run / f"{name}.sock").unlink(missing_ok=True)
        self._boot(image)
        if reason := self._not_ready("/src/tests/labs/uml/ready.sh busy"):
            raise NodeLost(f"not back\n{reason}")

    def _image(self) -> str:
        built = subprocess.run([HERE / "build.sh", self.security], stdout=subprocess.PIPE, text=True)
        if built.returncode:
            raise LabMissing(f"its disk could not be built: build.sh ended with status {built.returncode}")
        return built.stdout.strip()

    def _boot(self, image: str) -> None:
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        paths = [str(path) for path in (HERE / "keeper.py", image, SOURCE, self.run)]
        with open(self.console, "wb") as console:
            subprocess.run(
                # Nobody's child: it outlives us, and leaves no zombie with us when it ends.
                ["setsid", "--fork", *namespaces, sys.executable, "-I", *paths],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
            )
        deadline = time.monotonic() + 10
        while not self._keeper():
            if time.monotonic() > deadline:
                raise NodeLost(f"its keeper did not start\n{self._tail()}")
            time.sleep(0.02)

    def _not_ready(self, script: str = "/src/tests/labs/uml/ready.sh") -> str:
        try:
            ready = self.sh(self.controller, script, timeout=120)
        except NodeLost as error:
            return str(error)
        return ready.out + ready.err if ready.status else ""

    def down(self) -> None:
        if not self._ours():
            return
        if keeper := self._keeper():
            with suppress(NodeLost):  # it may be gone before it can answer
                self._ask("systemctl --no-block poweroff", "root", 5, "")
            self._end(keeper, grace=20)
        if self.console.exists():
            shutil.move(self.console, CACHE / "uml-console.log")  # of the last boot, to read later
        shutil.rmtree(self.run)

    def _end(self, keeper: int, grace: float) -> None:
        """Wait for the keeper's end: with it ends its pid namespace, so every process of the node."""
        with suppress(ProcessLookupError):
            process = os.pidfd_open(keeper)
            if not select.select([process], [], [], grace)[0]:
                say("it did not power off in time: killed")
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [])
            os.close(process)

    def sh(
        self,
        host: str,
        script: str,
        *,
        user: str = "root",
        timeout: float = 60,
        stdin: str = "",
    ) -> Done:
        """Status 124: it was not done in time, and its process group was killed."""
        assert host in self.nodes, host
        return self._ask(script, user, timeout, stdin)

    def _ask(self, script: str, user: str, timeout: float, stdin: str) -> Done:
        command = {"script": script, "user": user, "timeout": timeout, "stdin": stdin}
        try:
            with self._connect("agent") as line:
                line.settimeout(timeout + 10)  # the agent keeps the time; this is for its own death
                line.sendall(json.dumps(command).encode() + b"\n")
                answer = line.makefile("rb").readline()
        except OSError as error:
            raise NodeLost(f"no word from its agent ({error})\n{self._tail()}") from None
        if not answer:
            raise NodeLost(f"it ended while a command ran\n{self._tail()}")
        return Done(**json.loads(answer))

    def shell(self) -> None:
        """A terminal in the node: root's shell on its second serial line."""
        columns, lines = shutil.get_terminal_size()
        start = (
            f"export TERM={os.environ.get('TERM', 'linux')}; exec <>/dev/ttyS1 >&0 2>&1;"
            f"stty sane rows {lines} cols {columns}; exec setsid --ctty --wait bash -l"
        )
        keys = sys.stdin.fileno()
        before = termios.tcgetattr(keys)
        with self._connect("tty") as line:
            bash = threading.Thread(target=self._ask, args=[start, "root", 86400, ""], daemon=True)
            bash.start()
            try:
                tty.setraw(keys)
                while bash.is_alive():
                    for ready in select.select([keys, line], [], [], 0.2)[0]:
                        if ready is line:
                            os.write(1, line.recv(4096))
                        else:
                            line.sendall(os.read(keys, 4096))
            finally:
                termios.tcsetattr(keys, termios.TCSADRAIN, before)

    def _ours(self) -> bool:
        """Others may write beside it: a directory or link of theirs by its name is not the node's."""
        try:
            return self.run.lstat().st_uid == os.geteuid()
        except FileNotFoundError:
            return False

    def _connect(self, name: str) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(self.run / f"{name}.sock"))
        except OSError:
            line.close()
            raise
        return line

    def _keeper(self) -> int | None:
        """The pid of the node's keeper, if it is alive: only then is there someone behind its socket."""
        if not self._ours():
            return None
        try:
            with self._connect("agent") as line:
                credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return None
        return int.from_bytes(credentials[:4], sys.byteorder)

    def _tail(self) -> str:
        try:
            lines = self.console.read_text(errors="replace").splitlines()
            return "\n".join([line for line in lines if line][-40:])
        except OSError as error:
            return str(error)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.labs.uml",
        description="Lab (b): a real Slurm node with systemd and cgroup v2, under user-mode Linux.",
        epilog="example: python3 -m tests.labs.uml up && python3 -m tests.labs.uml run -u ann 'srun id'",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up | down | run | shell")
    verbs.add_parser("up", help="build what is missing, boot, return when the node takes jobs")
    verbs.add_parser("down", help="power off every node that up or a suite has left running")
    verbs.add_parser("shell", help="a root shell in it")
    run = verbs.add_parser("run", help="run a shell script in it, end with its status")
    run.add_argument("-u", "--user", default="root", help="ann, bob or root (the default)")
    run.add_argument("-t", "--timeout", type=float, default=60, metavar="SECONDS", help="default: 60")
    run.add_argument("script", metavar="SCRIPT")
    parser.add_argument("--selinux", action="store_true", help="the node whose kernel has SELinux, beside the other")
    asked = parser.parse_args()
    if asked.verb == "shell" and not sys.stdin.isatty():
        parser.error("shell is for a terminal; run SCRIPT is not")
    lab = Uml("selinux", "selinux") if asked.selinux else Uml()
    try:
        if asked.verb == "run":
            done = lab.sh(lab.controller, asked.script, user=asked.user, timeout=asked.timeout)
            sys.stdout.write(done.out)
            sys.stderr.write(done.err)
            return done.status
        if asked.verb == "down":
            for node in Path(tempfile.gettempdir()).glob(f"{RUN}*"):
                Uml(node.name.removeprefix(RUN).removeprefix("-")).down()
        else:
            getattr(lab, asked.verb)()
    except (LabMissing, NodeLost, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

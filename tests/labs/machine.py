# SPDX-License-Identifier: Apache-2.0
"""Labs of one real node, with systemd and cgroup v2, under a kernel of its own: what they have in common.

The node is controller and compute node in one; it runs as a process of its own (node/keeper.py), so what `up` started
another process can use. What its kernel is a lab says in a directory of its name:

    build.sh SECURITY SUITE    builds what a boot needs, and prints its directory
    start.sh IMAGE SOURCE RUN [WORD...]  becomes the kernel, for node/keeper.py
    overlay/                   the node's files that are the lab's own
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

LABS = Path(__file__).parent
SOURCE = LABS.parents[1]
CACHE = Path(os.environ.get("SLURM_HOOKS_CACHE", "/var/cache/slurm-hooks"))
PROGRAMS = ("apt-get", "dpkg-deb", "mkfs.ext4", "unshare")


class NodeLost(Exception):
    """The node does not answer, or came up wrong; the text ends with what it said last."""


class KernelFault(NodeLost):
    """Its kernel has ended by a fault of user-mode Linux's own, as now and then it does: not by what runs on it."""


# The words are of arch/um/kernel/trap.c; seen with 7.2.7 in a copy to a page of the user's (fstat, by a Go program).
FAULT = "Kernel panic - not syncing: Segfault with"


class Machine:
    """A lab of one such node: see base.Lab."""

    name: str
    controller: str
    nodes: tuple[str, ...]
    users: tuple[str, ...] = ("ann", "bob")
    security = "apparmor"  # what its kernel confines by
    suite = "trixie"  # of Debian: the releases of Slurm and Docker that are on it
    kernel: tuple[str, ...] = ()  # words more for its command line, where the lab's start.sh takes any
    slow = 1.0  # how many times the seconds that others give it are
    cable: socket.socket | None = None  # our end of one to another node, which the lab's start.sh plugs in

    def __init__(self, which: str = "") -> None:
        self.run = self._runs(which)
        self.console = self.run / "console.log"
        self._made_of = self.run / "made-of"

    @classmethod
    def _runs(cls, which: str) -> Path:
        """A node's sockets, disk and console, in the temporary directory."""
        return Path(tempfile.gettempdir()) / f"slurm-hooks-{cls.name}{which and '-'}{which}"

    @classmethod
    def every(cls) -> list[Machine]:
        """Each node that up or a suite has left running."""
        first = cls._runs("").name
        found = Path(tempfile.gettempdir()).glob(f"{first}*")
        return [cls(path.name.removeprefix(first).removeprefix("-")) for path in found]

    def _say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def why_not(self) -> str | None:
        """Why this machine cannot run such a lab; None: it can."""
        if platform.machine() != "x86_64":
            return f"its kernel is Debian's for x86_64, this is {platform.machine()}"
        if os.geteuid() != 0:
            return "it needs root: namespaces, mounts, a disk image with owners"
        for program in PROGRAMS:
            if not shutil.which(program):
                return f"no {program} here"
        tried = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
            capture_output=True,
            text=True,
        )
        return f"no namespaces of our own: {tried.stderr.strip()}" if tried.returncode else None

    def _sources(self) -> tuple[str, ...]:
        """What a node is made of at its boot."""
        return (
            "Makefile",
            "etc",
            "slurm_hooks",
            "tests/labs/agent.py",
            "tests/labs/image.sh",
            "tests/labs/node",
            "tests/labs/slurm",
            "tests/labs/slurm-hooks.toml",
            "tests/labs/tree",
            f"tests/labs/{self.name}",
        )

    def _digest(self) -> str:
        """A running node made of something else is an old one."""
        every = (file for source in self._sources() for file in (SOURCE / source, *(SOURCE / source).rglob("*")))
        known = hashlib.sha256()
        for file in sorted(file for file in every if file.is_file() and file.suffix != ".pyc"):
            known.update(f"{file} {file.stat().st_mode} ".encode() + file.read_bytes())
        return known.hexdigest()

    def up(self) -> None:
        if self.stands():
            return
        self.down()
        self.start()
        self.wait()

    def stands(self) -> bool:
        """Does it run, made of what is here now, and take jobs?"""
        return bool(self._keeper()) and self._made_of.read_text() == self._digest() and not self._not_ready()

    def start(self) -> None:
        """Begin to boot, where it does not run."""
        if reason := self.why_not():
            raise LabMissing(reason)
        image = self._image()
        self._say(f"booting; its console: {self.console}")
        self.run.mkdir(mode=0o700)
        self._made_of.write_text(self._digest())
        self._boot(image)

    def wait(self) -> None:
        """Until it takes jobs."""
        began = self._made_of.stat().st_mtime
        if reason := self._not_ready():
            raise NodeLost(f"not ready for jobs\n{reason}")
        self._say(f"ready after {time.time() - began:.1f} s")

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
        if reason := self._not_ready("/src/tests/labs/node/ready.sh busy"):
            raise NodeLost(f"not back\n{reason}")

    def _image(self) -> str:
        built = subprocess.run(
            [LABS / self.name / "build.sh", self.security, self.suite], stdout=subprocess.PIPE, text=True
        )
        if built.returncode:
            raise LabMissing(f"its disk could not be built: build.sh ended with status {built.returncode}")
        return built.stdout.strip()

    def _boot(self, image: str) -> None:
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        keeper = [sys.executable, "-I", str(LABS / "node/keeper.py"), str(self.run)]
        kernel = [str(LABS / self.name / "start.sh"), image, str(SOURCE), str(self.run), *self.kernel]
        cable = [self.cable.fileno()] if self.cable else []
        with open(self.console, "wb") as console:
            subprocess.run(
                # Nobody's child: it outlives us, and leaves no zombie with us when it ends.
                ["setsid", "--fork", *namespaces, *keeper, *kernel],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                pass_fds=cable,
                env={**os.environ, "CABLE": "".join(map(str, cable))},
            )
        deadline = time.monotonic() + 10
        while not self._keeper():
            if time.monotonic() > deadline:
                raise NodeLost(f"its keeper did not start\n{self._tail()}")
            time.sleep(0.02)

    def _not_ready(self, script: str = "/src/tests/labs/node/ready.sh") -> str:
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
                self._ask("poweroff --force", "root", 5, "")  # nothing of it is kept, so nothing needs to end well
            self._end(keeper, grace=20)
        if self.console.exists():
            shutil.move(self.console, CACHE / f"{self.name}-console.log")  # of the last boot, to read later
        shutil.rmtree(self.run)

    def _end(self, keeper: int, grace: float) -> None:
        """Wait for the keeper's end: with it ends its pid namespace, so every process of the node."""
        with suppress(ProcessLookupError):
            process = os.pidfd_open(keeper)
            if not select.select([process], [], [], grace * self.slow)[0]:
                self._say("it did not power off in time: killed")
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
        timeout *= self.slow
        command = {"script": script, "user": user, "timeout": timeout, "stdin": stdin}
        try:
            with self._connect("agent") as line:
                line.settimeout(timeout + 10)  # the agent keeps the time; this is for its own death
                line.sendall(json.dumps(command).encode() + b"\n")
                answer = line.makefile("rb").readline()
        except OSError as error:
            raise self._lost(f"no word from its agent ({error})") from None
        if not answer:
            raise self._lost("it ended while a command ran")
        return Done(**json.loads(answer))

    def _lost(self, why: str) -> NodeLost:
        fault = self.console.exists() and FAULT in self.console.read_text(errors="replace")
        return (KernelFault if fault else NodeLost)(f"{why}\n{self._tail()}")

    def alive(self) -> bool:
        return self._keeper() is not None

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


def main(description: str, lab: type[Machine], **others: type[Machine]) -> int:
    """`python3 -m tests.labs.LAB`; `--NAME` is another node, beside the first."""
    program = f"python3 -m tests.labs.{lab.name}"
    parser = argparse.ArgumentParser(
        prog=program, description=description, epilog=f"example: {program} up && {program} run -u ann 'srun id'"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up | down | run | shell")
    verbs.add_parser("up", help="build what is missing, boot, return when the node takes jobs")
    verbs.add_parser("down", help="power off every node that up or a suite has left running")
    verbs.add_parser("shell", help="a root shell in it")
    run = verbs.add_parser("run", help="run a shell script in it, end with its status")
    run.add_argument("-u", "--user", default="root", help="ann, bob or root (the default)")
    run.add_argument("-t", "--timeout", type=float, default=60, metavar="SECONDS", help="default: 60")
    run.add_argument("script", metavar="SCRIPT")
    for name, other in others.items():
        parser.add_argument(f"--{name}", dest="lab", action="store_const", const=other, help=other.__doc__)
    parser.set_defaults(lab=lab)
    asked = parser.parse_args()
    if asked.verb == "shell" and not sys.stdin.isatty():
        parser.error("shell is for a terminal; run SCRIPT is not")
    node: Machine = asked.lab()
    try:
        if asked.verb == "run":
            done = node.sh(node.controller, asked.script, user=asked.user, timeout=asked.timeout)
            sys.stdout.write(done.out)
            sys.stderr.write(done.err)
            return done.status
        if asked.verb == "down":
            for each in lab.every():
                each.down()
        else:
            getattr(node, asked.verb)()
    except (LabMissing, NodeLost, OSError) as error:
        print(f"{lab.name}: {error}", file=sys.stderr)
        return 1
    return 0

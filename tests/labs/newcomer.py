# SPDX-License-Identifier: Apache-2.0
"""A newcomer's machine for `make demo`: systemd, cgroup v2, AppArmor, and Debian's Docker installed but not
running, as labs/host.sh leaves it. It is lab (c)'s, so it is slow.

User-mode Linux (lab (b)) is fast, but its kernel lacks what a cluster of containers stands on: without ip's nat tables
Docker's resolver answers no container, so the hosts do not find each other; without cpuset no job is held to its cores.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
from pathlib import Path

from tests.labs.base import Done, LabMissing
from tests.labs.emulated import Emulated
from tests.labs.machine import LABS

READY = "systemctl is-system-running --wait >&2"


class Newcomer(Emulated):
    """No node of a cluster, and without slurm-hooks. The root tree that a cluster of containers is made of is its
    second disk, since it has no network to build one."""

    kernel = ("lab.bare", "systemd.mask=slurmctld.service", "systemd.mask=slurmd.service")

    def __init__(self) -> None:
        super().__init__("newcomer")

    def _boot(self, image: str) -> None:
        built = subprocess.run([LABS / "tree/build.sh"], stdout=subprocess.PIPE, text=True)
        if built.returncode:
            raise LabMissing(f"the root tree could not be built: build.sh ended with status {built.returncode}")
        (self.run / "second.disk").symlink_to(Path(built.stdout.strip()))
        super()._boot(image)

    def _not_ready(self, script: str = READY) -> str:
        return super()._not_ready(script)

    def follow(self, script: str, timeout: float) -> int:
        """Run a script as root and print what it says when it says it, over the second serial line; its exit status."""
        # Behind `cat`, since programs draw on a terminal.
        said = shlex.quote(f"{{ {script}\n}} 2>&1 | cat >/dev/ttyS1")
        answers: list[Done] = []

        def ask() -> None:
            answers.append(self._ask(f"stty raw </dev/ttyS1; exec bash -o pipefail -c {said}", "root", timeout, ""))

        with self._connect("tty") as line:
            line.settimeout(1)
            asking = threading.Thread(target=ask)
            asking.start()
            while True:
                ended = not asking.is_alive()  # before the last look at the line
                try:
                    heard = line.recv(4096)
                except TimeoutError:
                    heard = b""
                sys.stdout.buffer.write(heard)
                sys.stdout.flush()
                if ended and not heard:
                    break
        if not answers:
            return 1  # why, the thread has said
        sys.stderr.write(answers[0].err)
        return answers[0].status

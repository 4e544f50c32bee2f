# SPDX-License-Identifier: Apache-2.0
"""What a lab is: a running Slurm cluster in which a command can be run on a node.

Everything else that a test needs (submit a job, wait for it, read a cgroup) is
written once, on top of :meth:`Lab.sh`, and so is the same in every lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Done:
    """A command that ended on a node."""

    status: int  # exit status; 128 + signal where a signal ended it
    out: str
    err: str


class LabMissing(Exception):
    """This machine cannot run the lab; the text says why in one line."""


class Lab(Protocol):
    """A Slurm cluster made of real parts."""

    name: str  # "compose", "uml", "pair" or "emulated"
    controller: str  # the host where sbatch, srun, squeue and scontrol are run
    nodes: tuple[str, ...]  # the compute nodes, by Slurm's name
    users: tuple[str, ...]  # accounts with a home on every node

    def up(self) -> None:
        """Bring the cluster up; return when every node is idle. Idempotent. Raises LabMissing."""

    def alive(self) -> bool:
        """Does its kernel run? Asked before each test, so told at once."""

    def down(self) -> None:
        """Stop it and leave nothing. Idempotent."""

    def reboot(self) -> None:
        """Let a node die with all that runs on it and boot again, its disk kept; idle or not. Raises LabMissing."""

    def sh(
        self,
        host: str,
        script: str,
        *,
        user: str = "root",
        timeout: float = 60,  # seconds; a lab that is slow by nature gives more
        stdin: str = "",
    ) -> Done:
        """Run `script` with `sh -c` on a host as a user (login-like: HOME, cwd = home). Never raises for its status."""

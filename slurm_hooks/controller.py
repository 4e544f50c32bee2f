# SPDX-License-Identifier: Apache-2.0
"""The rare word to Slurm, on the unhealthy path only: drain with a reason, is job N alive.

pyslurm where it is installed and matches this Slurm (its import makes sure, it
fails against another libslurm), scontrol otherwise.
"""

from __future__ import annotations

import subprocess
from typing import Protocol

from slurm_hooks.errors import NodeFault

SCONTROL = ("/usr/bin/scontrol", "/usr/local/bin/scontrol", "/opt/slurm/bin/scontrol")
SECONDS = 15.0
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "STAGE_OUT")


class Controller(Protocol):
    """What we ever say to slurmctld. Both raise NodeFault where it does not answer."""

    def drain(self, node: str, reason: str) -> None:
        """Drain a node, with the reason that `scontrol show node` then shows."""

    def is_alive(self, job: int) -> bool:
        """Does Slurm still hold this job for unfinished?"""


class Pyslurm:
    """Through libslurm. Raises ImportError where pyslurm is missing or built for another Slurm."""

    def __init__(self) -> None:
        import pyslurm

        self.slurm = pyslurm

    def drain(self, node: str, reason: str) -> None:
        try:
            self.slurm.Node.load(node).modify(self.slurm.Node(state="DRAIN", reason=reason))
        except self.slurm.PyslurmError as error:
            raise NodeFault(f"drain of {node}", str(error)) from None

    def is_alive(self, job: int) -> bool:
        try:
            return str(self.slurm.Job.load(job).state).split()[0].rstrip("+") in ALIVE
        except self.slurm.RPCError as error:
            if "Invalid job id" in str(error):
                return False
            raise NodeFault(f"state of job {job}", str(error)) from None


class Scontrol:
    """Through Slurm's own command."""

    def _run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        for program in SCONTROL:
            try:
                return subprocess.run(
                    [program.removesuffix("scontrol") + name, *arguments],
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                    check=False,
                )
            except FileNotFoundError:
                continue
            except subprocess.TimeoutExpired:
                raise NodeFault("slurmctld", f"{name} had no answer in {SECONDS:.0f} s") from None
        raise NodeFault("scontrol", f"not at {', '.join(SCONTROL)}")

    def drain(self, node: str, reason: str) -> None:
        done = self._run("scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}")
        if done.returncode != 0:
            raise NodeFault(f"drain of {node}", done.stderr.strip() or done.stdout.strip())

    def is_alive(self, job: int) -> bool:
        # squeue, as `scontrol show job` prints the user's own words (name, comment) beside the state.
        done = self._run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")
        if done.returncode != 0:
            if "Invalid job id" in done.stderr + done.stdout:
                return False
            raise NodeFault(f"state of job {job}", done.stderr.strip())
        return any(state in ALIVE for state in done.stdout.split())


def connect() -> Controller:
    """The best way there is on this node."""
    try:
        return Pyslurm()
    except Exception:  # not only ImportError: a pyslurm for another Slurm fails in many ways
        return Scontrol()

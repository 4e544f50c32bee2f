# SPDX-License-Identifier: Apache-2.0
"""The rare word to Slurm, on the unhealthy path only: drain with a reason, is job N alive, which jobs are here.

pyslurm where it is installed and matches this Slurm (its import makes sure, it
fails against another libslurm), scontrol otherwise.
"""

from __future__ import annotations

import subprocess
from typing import NamedTuple, Protocol

from slurm_hooks.errors import NodeFault

SCONTROL = ("/usr/bin/scontrol", "/usr/local/bin/scontrol", "/opt/slurm/bin/scontrol")
SECONDS = 15.0
# What is none of these is not over: releases add states (RESIZING, SIGNALING), and two of them are more than a word.
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
)  # fmt: skip


class Controller(Protocol):
    """What we ever say to slurmctld. All raise NodeFault where it does not answer."""

    def drain(self, node: str, reason: str) -> None:
        """Drain a node, with the reason that `scontrol show node` then shows."""

    def is_alive(self, job: int) -> bool:
        """Does Slurm still hold this job for unfinished?"""

    def on_node(self, node: str) -> dict[int, Here]:
        """The unfinished jobs that have this node."""


class Here(NamedTuple):
    """A job that Slurm has on a node."""

    restart: int  # how often it was requeued; counted before the run that is requeued has ended
    state: str


class Scontrol:
    """Through Slurm's own commands."""

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
        # squeue, as `scontrol show job` prints the user's own words (name, comment) beside the state. %A: asked for
        # the last task of an array, which has the array's own number, or the leader of a heterogeneous job, it lists
        # all of them.
        done = self._run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%A %T")
        if done.returncode != 0:
            if "Invalid job id" in done.stderr + done.stdout:
                return False
            raise NodeFault(f"state of job {job}", done.stderr.strip())
        rows = (line.split() for line in done.stdout.splitlines())
        return any(number == str(job) and state not in OVER for number, state in rows)

    def on_node(self, node: str) -> dict[int, Here]:
        fields = "--Format=JobID:20,RestartCnt:12,State:24"
        done = self._run("squeue", "--noheader", "--states=all", f"--nodelist={node}", fields)
        try:
            if done.returncode == 0:
                rows = (line.split() for line in done.stdout.splitlines())
                return {int(job): Here(int(count), state) for job, count, state in rows if state not in OVER}
        except ValueError:
            done.stderr = f"squeue said {done.stdout[:80]!r}"
        raise NodeFault(f"jobs of {node}", done.stderr.strip())


def release() -> str:
    """Of the Slurm that is installed here, in its words and without asking slurmctld; "": it has none."""
    try:
        return Scontrol()._run("scontrol", "-V").stdout
    except NodeFault:
        return ""


def configuration() -> dict[str, str]:
    """slurm.conf as slurmctld has it: what `scontrol show config` prints, name → value (Prolog[0], Prolog[1], …).

    Raises NodeFault.
    """
    done = Scontrol()._run("scontrol", "show", "config")
    if done.returncode != 0:
        raise NodeFault("slurmctld", done.stderr.strip() or "has no configuration to show")
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


class Pyslurm(Scontrol):
    """Through libslurm, but for what squeue filters by itself.

    Raises ImportError where pyslurm is missing or built for another Slurm.
    """

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
            return str(self.slurm.Job.load(job).state).split()[0].rstrip("+") not in OVER
        except self.slurm.RPCError as error:
            if "Invalid job id" in str(error):
                return False
            raise NodeFault(f"state of job {job}", str(error)) from None


def connect() -> Controller:
    """The best way there is on this node."""
    try:
        return Pyslurm()
    except Exception:  # not only ImportError: a pyslurm for another Slurm fails in many ways
        return Scontrol()

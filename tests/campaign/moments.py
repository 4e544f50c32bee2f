# SPDX-License-Identifier: Apache-2.0
"""When a job is at a step, and that it was at it when the fault came. Runs on the node, as root.

Prolog, Epilog        the hook's process, stopped (SIGSTOP) where it is until the fault is there
create, start         the broker holds its flock on the job's record: it is at a launch, and the job's script does
                      nothing but this one kind
exec                  a `docker exec` of the job runs
running               the script waits, its containers run
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.campaign import world
from tests.campaign.faults import Fault
from tests.campaign.world import Job

# Seconds from the beginning of a step within which the fault comes: about as long as the step takes, on lab (b)
# and on lab (a), which is not a processor in a processor.
SPANS = {"prolog": 0.12, "create": 0.3, "start": 1.2, "exec": 0.3, "running": 0.5, "epilog": 1.5}
if not world.SYSTEMD:
    SPANS = {"prolog": 0.03, "create": 0.05, "start": 0.2, "exec": 0.1, "running": 0.5, "epilog": 0.4}
HOOKS = {"prolog": r"/prolog\.d/50-slurm-hooks", "epilog": r"/epilog\.d/50-slurm-hooks"}
WITHIN = 30.0  # seconds for the moment to come
TRIES = 40


class Moment:
    """A step of a job."""

    pid = 0  # of the hook

    def __init__(self, job: Job) -> None:
        self.job = job

    def came(self, deadline: float) -> bool:
        """Wait until the job is at the step. False: it will not be, or not in time."""
        raise NotImplementedError

    def evidence(self) -> str:
        """That it is at the step at this instant; "" where it is not."""
        raise NotImplementedError

    def hold(self) -> None:
        """Stay, if that can be had."""

    def go_on(self) -> None:
        """Undo the hold."""


class Hook(Moment):
    """The process of the Prolog or Epilog."""

    def __init__(self, job: Job, step: str) -> None:
        super().__init__(job)
        self.step, self.known = step, world.pids()

    def came(self, deadline: float) -> bool:
        while not self.pid and time.monotonic() < deadline:
            for pid in world.find(HOOKS[self.step], world.pids() - self.known):
                if self.job.id == 0 or self._is_of_job(pid):
                    self.pid = pid
            time.sleep(0.002)
        return bool(self.pid) and world.state_of(self.pid) not in ("", "Z")

    def _is_of_job(self, pid: int) -> bool:
        try:
            return f"SLURM_JOB_ID={self.job.id}" in Path(f"/proc/{pid}/environ").read_text("latin-1").split("\0")
        except OSError:
            return False

    def hold(self) -> None:
        world.kill(self.pid, signal.SIGSTOP)
        world.until(lambda: world.state_of(self.pid) in ("T", "Z", ""), 2, 0.001)

    def evidence(self) -> str:
        state = world.state_of(self.pid)
        return f"pid {self.pid} of the {self.step}, state {state}" if state not in ("", "Z") else ""

    def go_on(self) -> None:
        world.kill(self.pid, signal.SIGCONT)


class Launch(Moment):
    """The broker is at a launch for the job."""

    def came(self, deadline: float) -> bool:
        return world.until(lambda: bool(self.evidence()), max(0.0, deadline - time.monotonic()), 0.003)

    def evidence(self) -> str:
        try:
            record = next(iter(Path("/run/slurm-hooks/jobs").glob(f"{self.job.id}-*")))
            inode = str(os.stat(record).st_ino)
            locks = Path("/proc/locks").read_text().splitlines()
        except (OSError, StopIteration):
            return ""
        for line in locks:  # 7: FLOCK  ADVISORY  READ 910 00:16:209 0 EOF
            words = line.split()
            if words[1:4] == ["FLOCK", "ADVISORY", "READ"] and words[5].rpartition(":")[2] == inode:
                return f"the broker, pid {words[4]}, holds the job's record"
        return ""


class Exec(Moment):
    """A client of the job's script waits; the broker lets go of the record before runc is through."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.known = world.pids()

    def came(self, deadline: float) -> bool:
        return world.until(lambda: bool(self.evidence()), max(0.0, deadline - time.monotonic()), 0.003)

    def evidence(self) -> str:
        clients = world.find(r"^docker exec n1 ", world.pids() - self.known)
        return f"pid {clients[0]}, docker exec" if clients else ""


class Running(Moment):
    """The job waits."""

    def came(self, deadline: float) -> bool:
        return True

    def evidence(self) -> str:
        return "its script waits for us" if self.job.state() == "RUNNING" and self.job.told("up") else ""


def moment_of(step: str, job: Job) -> Moment:
    """Made before the step begins."""
    if step in HOOKS:
        return Hook(job, step)
    kinds: dict[str, type[Moment]] = {"running": Running, "exec": Exec}
    return kinds.get(step, Launch)(job)


def struck(moment: Moment, step: str, fault: Fault, draw: random.Random) -> str:
    """Strike at a random moment of the step: the evidence that it was that step; "" where it could not be had."""
    deadline = time.monotonic() + WITHIN
    span = SPANS[step]
    for _ in range(TRIES):
        if not moment.came(deadline):
            return ""
        if fault.polled:
            if evidence := _polled(moment, fault, deadline):
                return evidence
            continue
        time.sleep(draw.uniform(0, span))
        moment.hold()
        try:
            evidence = moment.evidence()
            if evidence and fault.strike(moment.job, moment.pid):
                return evidence
        finally:
            moment.go_on()
        span *= 0.7
    return ""


def _polled(moment: Moment, fault: Fault, deadline: float) -> str:
    while time.monotonic() < deadline and (evidence := moment.evidence()):
        if fault.strike(moment.job, moment.pid):
            return evidence
        time.sleep(0.002)
    return ""

# SPDX-License-Identifier: Apache-2.0
"""The faults: each is made ready, strikes at a moment, lasts, and comes to its end. Runs on the node, as root."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

from tests.campaign import plan, world
from tests.campaign.world import Job

JUMP = 20.0  # seconds. Slurm measures its own timeouts by the wall clock: 60 s more would be a Prolog's timeout


class Fault:
    """One that has no duration."""

    lasts = False
    polled = False  # strikes when its victim comes: ask often

    def __init__(self, round_: plan.Round, draw: random.Random) -> None:
        self.round, self.draw = round_, draw
        self.victim = ""  # in words

    def ready(self) -> None:
        """What takes time, done before the moment."""

    def strike(self, job: Job, hook: int) -> bool:
        """Now; False where there is nobody to strike. `hook`: the pid of the hook that runs, or 0."""
        raise NotImplementedError

    def end(self) -> None:
        """Bring it to its end. Idempotent."""

    def _killed(self, pids: list[int]) -> bool:
        if not pids:
            return False
        pid = self.draw.choice(pids)
        self.victim = f"pid {pid} {world.words_of(pid)[:60]}"
        return world.kill(pid)


class Daemon(Fault):
    """SIGKILL of a daemon; it is started again."""

    lasts = True

    def ready(self) -> None:
        self.pid = world.daemon(self.round.fault)

    def strike(self, job: Job, hook: int) -> bool:
        struck = self._killed([self.pid])
        if self.round.long:
            world.service("stop", self.round.fault)  # or systemd has it back at once
        return struck

    def end(self) -> None:
        world.wait_end(self.pid, 10)
        if not world.until(lambda: world.answers(self.round.fault), 0.0 if self.round.long else 0.2):
            if self.round.fault == "broker":  # comes back by itself, by its unit
                world.must_until(lambda: world.answers("broker"), "the broker, by itself", 30)
            else:
                world.service("start", self.round.fault)
                world.must_until(lambda: world.answers(self.round.fault), f"an answer of {self.round.fault}", 60)


class Shim(Fault):
    """SIGKILL of a shim of a container of the job."""

    polled = True

    def strike(self, job: Job, hook: int) -> bool:
        mine = job.containers()
        return self._killed([pid for pid in world.find(r"containerd-shim.* -id ") if _names(pid, mine)])


class Runc(Fault):
    """SIGKILL of a runc that works for a container of the job."""

    polled = True

    def ready(self) -> None:
        self.known = world.pids()

    def strike(self, job: Job, hook: int) -> bool:
        return self._killed(world.find(r"^(/usr/s?bin/)?runc .*--root|^runc init", world.pids() - self.known))


class Stepd(Fault):
    """SIGKILL of slurmstepd: of the batch script, or of the job's extern step."""

    def strike(self, job: Job, hook: int) -> bool:
        return self._killed(world.find(rf"^slurmstepd: \[{job.id}\."))


class Hook(Fault):
    """SIGKILL of the Prolog or Epilog itself."""

    def strike(self, job: Job, hook: int) -> bool:
        return self._killed([hook] if hook else [])


class Hang(Fault):
    """dockerd takes connections and never answers."""

    lasts = True

    def ready(self) -> None:
        self.pid = world.daemon("dockerd")

    def strike(self, job: Job, hook: int) -> bool:
        return world.kill(self.pid, signal.SIGSTOP)

    def end(self) -> None:
        world.kill(self.pid, signal.SIGCONT)
        world.must_until(lambda: world.answers("dockerd"), "an answer of dockerd", 30)


class Full(Fault):
    """The tmpfs of /run has no block left: its size is set to what is used."""

    lasts = True

    def ready(self) -> None:
        facts = os.statvfs("/run")
        self.size = facts.f_blocks * facts.f_frsize

    def strike(self, job: Job, hook: int) -> bool:
        facts = os.statvfs("/run")
        used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
        return self._resized(used)

    def end(self) -> None:
        if not self._resized(self.size):
            raise world.Campaign("the size of /run cannot be set back")

    @staticmethod
    def _resized(size: int) -> bool:
        return subprocess.run(["mount", "-o", f"remount,size={size}", "/run"], check=False).returncode == 0


class Clock(Fault):
    """The wall clock jumps, and is set right later."""

    lasts = True

    def ready(self) -> None:
        self.by = self.draw.choice((JUMP, -JUMP))
        self.off = 0.0

    def strike(self, job: Job, hook: int) -> bool:
        self._jump(self.by)
        self.victim = f"{self.by:+.0f} s"
        return True

    def end(self) -> None:
        self._jump(-self.off)

    def _jump(self, by: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + by)
        self.off += by


class Scancel(Fault):
    """scancel by the user, at the moment."""

    def strike(self, job: Job, hook: int) -> bool:
        world.run("scancel", str(job.id), user=job.user)  # its status is 1 for a job that completes
        return True


def _names(pid: int, containers: set[str]) -> bool:
    return any(one in containers for one in world.words_of(pid).split())


def fault_of(round_: plan.Round, draw: random.Random) -> Fault:
    """The round's."""
    kinds: dict[str, type[Fault]] = {
        "shim": Shim,
        "runc": Runc,
        "slurmstepd": Stepd,
        "hook": Hook,
        "hang": Hang,
        "full": Full,
        "clock": Clock,
        "scancel": Scancel,
        **dict.fromkeys(plan.DAEMONS, Daemon),
    }
    return kinds[round_.fault](round_, draw)

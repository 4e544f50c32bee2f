# SPDX-License-Identifier: Apache-2.0
"""Who must come through all rounds unharmed. Runs on the node, as root.

A job of bob's with a container, a container that root started without Slurm, and at times a daemon of ann's that
is older than her job, in a unit of systemd or out of all of them.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.campaign import auditor, pulls, world

KEPT = "/run/lab-campaign.json"
DOCKER = ("docker", "-H", f"unix://{auditor.DOCKER}")
SCRIPT = """#!/bin/bash
cd PLACE
until docker run -d --name neighbour img sleep 1000000; do sleep 1; done; touch up; exec sleep 1000000"""


@dataclass
class Innocents:
    """Who they are: processes by pid and birth, containers by id."""

    job: int = 0
    container: str = ""
    foreign: str = ""
    processes: dict[str, list[int]] = field(default_factory=dict)  # name → [pid, born]

    def harmed(self) -> list[str]:
        """A line for each that is not as it was."""
        found = [
            f"{name} is gone: pid {pid} {world.words_of(pid)[:60]}"
            for name, (pid, born) in self.processes.items()
            if world.born(pid) != born
        ]
        for name, container in (("the neighbour", self.container), ("the foreign container", self.foreign)):
            try:
                state = auditor.ask(f"/containers/{container}/json").get("State", {})
            except (OSError, ValueError) as error:
                found.append(f"{name}: dockerd: {error}")
                continue
            if not state.get("Running") or state.get("Paused"):
                found.append(f"{name} does not run any more, says dockerd: {state}")
        state = world.run("squeue", "--noheader", f"--jobs={self.job}", "--format=%T").stdout.strip()
        if state != "RUNNING":
            found.append(f"the neighbour's job {self.job} is {state or 'gone'}")
        return found

    def allowed(self) -> auditor.Innocent:
        """For the auditor."""
        return auditor.Innocent({self.job}, {self.container, self.foreign}, {pid for pid, _ in self.processes.values()})


def stand() -> Innocents:
    """Those of the round before, or new ones where there are none, or they are harmed."""
    try:
        kept = Innocents(**json.loads(Path(KEPT).read_text()))
        if not kept.harmed():
            return kept
    except (OSError, ValueError, TypeError):
        pass
    return _made()


def dismiss() -> None:
    """The node idle again, and nobody on it. Raises Campaign."""
    pulls.withdraw()
    world.healthy()
    for user in ("ann", "bob"):
        world.run("scancel", f"--user={user}")
    world.must_until(lambda: not world.run("squeue", "--noheader").stdout.strip(), "the end of older jobs", 90)
    left = world.run(*DOCKER, "ps", "-aq").stdout.split()
    if left:
        world.run(*DOCKER, "rm", "-f", *left)
    if world.drained():
        mend()


def _made() -> Innocents:
    dismiss()
    job = world.Job("bob", "campaign-neighbour", SCRIPT).submit("--mem=100", "--ntasks=1")
    world.must_until(lambda: job.told("up"), "the neighbour")
    made = Innocents(job=job.id, container=job.containers().pop())
    made.foreign = world.must(*DOCKER, "run", "-d", "--network", "none", "img", "sleep", "1000000")
    for name, container in (("the neighbour", made.container), ("the foreign container", made.foreign)):
        pid = int(auditor.ask(f"/containers/{container}/json")["State"]["Pid"])
        made.processes[name] = [pid, world.born(pid)]
    (host,) = [pid for pid in world.find(r"^sleep 1000000$") if f"/job_{job.id}/" in _cgroup(pid) and
               made.container not in _cgroup(pid)]  # fmt: skip
    made.processes["the neighbour's script"] = [host, world.born(host)]
    Path(KEPT).write_text(json.dumps(asdict(made)))
    return made


def mend() -> None:
    """As an operator would: epilog again for what is left, then resume."""
    for record in Path(auditor.RECORDS).glob("*"):
        world.run("slurm-hooks", "epilog", record.name.split("-")[0], within=120)
    world.resume()


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


class Daemon:
    """ann's, begun outside of Slurm before her job."""

    def __init__(self, where: str) -> None:
        who = pwd.getpwnam("ann")
        self.process = subprocess.Popen(
            ["sleep", "999999"], user=who.pw_uid, group=who.pw_gid, extra_groups=[], start_new_session=True, cwd="/"
        )
        if where == "root" and os.path.exists("/sys/fs/cgroup/cgroup.procs"):
            Path("/sys/fs/cgroup/cgroup.procs").write_text(f"{self.process.pid}\n")
        self.where = where

    @property
    def pid(self) -> int:
        return self.process.pid

    def harmed(self) -> list[str]:
        """A line where somebody ended it."""
        status = self.process.poll()
        return [] if status is None else [f"ann's daemon (cgroup: {self.where}) was ended: {status}"]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    dismiss()

# SPDX-License-Identifier: Apache-2.0
"""One round, on the node, as root: `python3 -m tests.campaign.node < round.json`; what was seen as JSON, last line."""

from __future__ import annotations

import fcntl
import json
import os
import random
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.campaign import auditor, faults, innocents, moments, plan, pulls, shapes, world

EVENTS = "/var/log/slurm-hooks/events.jsonl"
MEMORY = {"hog": "--mem=60"}
GONE_WITHIN = 90.0  # seconds from the end of a job's script to the end of its Epilog
GOES_ON_WITHIN = 60.0
# Slurm does not see that a slurmstepd was killed, or a slurmd in a Prolog (24.11): the job is RUNNING until somebody
# cancels it.
NEVER_ENDED = {("slurmd", "prolog"), *(("slurmstepd", step) for step in plan.FAULTS["slurmstepd"])}
BEFORE_ITS_END = ("PENDING", "CONFIGURING", "RUNNING")


class Conductor:
    """A round and what it has seen so far."""

    def __init__(self, round_: plan.Round, many: int) -> None:
        self.round, self.many = round_, many
        self.draw = random.Random(round_.draws)
        self.seen: dict[str, Any] = {"evidence": "", "victim": "", "drained": "", "left": [], "harmed": [], "jobs": {}}
        self.jobs: dict[str, world.Job] = {}
        self.began = self.ended = 0.0  # of the fault, seconds since 1970 as the events have them
        self.since = time.monotonic()
        # slurmctld waits for ever for the Prolog of a slurmd that was killed in it (24.11): the job stays CONFIGURING.
        # And it holds a job whose Prolog failed.
        waits_in_vain = round_.step == "prolog" and round_.fault in ("slurmd", "hook")
        self.patience = 8.0 if waits_in_vain else GOES_ON_WITHIN

    def conduct(self) -> dict[str, Any]:
        """All of it. Raises Campaign."""
        with pulls.offered() if "pull" in (self.round.shape, self.round.companion) else nullcontext():
            self._conduct()
        return self.seen

    def _conduct(self) -> None:
        world.healthy()
        world.must_until(world.responds, "the node's answer to slurmctld", 90)
        self.innocents = innocents.stand()
        if world.drained():
            innocents.mend()
        self._took("ready")
        daemon = innocents.Daemon(self.round.daemon) if self.round.daemon else None
        fault = faults.fault_of(self.round, self.draw)
        try:
            self._jobs_to_their_end(fault)
            self._took("end")
            self._audit(daemon)
            self._took("audit")
            if self.seen["drained"]:
                self._recover()
                self._took("recovery")
        finally:
            fault.end()
            if daemon:
                daemon.end()
            for job in self.jobs.values():
                world.run("scancel", str(job.id))
                job.leave()

    def _took(self, what: str) -> None:
        """Seconds since the last such word, for who wants rounds to be short."""
        now = time.monotonic()
        self.seen.setdefault("took", {})[what] = round(now - self.since, 1)
        self.since = now

    def _jobs_to_their_end(self, fault: faults.Fault) -> None:
        fault.ready()
        if self.round.companion:
            self._submit("companion", self.round.companion_user, self.round.companion, "running")
            self._until_told("companion", "up")
        step = self.round.step
        script = self._script(self.round.shape, step)
        main = world.Job("ann", "campaign-main", script)
        moment = moments.moment_of(step, main) if step == "prolog" else None
        self.jobs["main"] = main.submit(*self._options(self.round.shape))
        if moment is None:
            self._until_told("main", "up")
            self.seen["containers"] = len(main.containers())
            moment = moments.moment_of(step, main)
        self._took("up")
        if step == "epilog":
            self._end_jobs()
        at = time.time()
        self.seen["evidence"] = moments.struck(moment, step, fault, self.draw)
        self.began, self.seen["victim"] = at, fault.victim
        if fault.lasts:
            self._lasts(main)
        fault.end()
        self.ended = time.time()
        self._took("fault")
        if step != "epilog":
            self._go_on()
            self._took("goes on")
            self._end_jobs()
        for name in self.jobs:
            self._until_gone(name)

    def _lasts(self, main: world.Job) -> None:
        if self.round.long:
            world.until(lambda: main.state() != "COMPLETING" or bool(world.drained()), 40, 0.3)
        else:
            time.sleep(self.round.down)

    def _script(self, shape: str, step: str) -> str:
        again = shape not in ("none", "host")
        return shapes.script(shape, step, many=self.many, docker_again=again, ends=self.round.ends)

    def _options(self, shape: str) -> tuple[str, ...]:
        return ("--ntasks=1", MEMORY.get(shape, "--mem=250"))

    def _submit(self, name: str, user: str, shape: str, step: str) -> None:
        job = world.Job(user, f"campaign-{name}", self._script(shape, step))
        self.jobs[name] = job.submit(*self._options(shape))

    def _until_told(self, name: str, mark: str) -> None:
        job = self.jobs[name]
        if not world.until(lambda: job.told(mark), 60):
            raise world.Campaign(f"{name} is not {mark}: {job.state()} {job.facts()} {job.output()}")

    def _go_on(self) -> None:
        """After the fault: does the job go on, with docker in it?"""
        for name, job in self.jobs.items():
            if name == "main" and self.round.step == "prolog":
                job.go()
                self._until_up(job)
            job.go()
        for job in self.jobs.values():
            deadline = time.monotonic() + self.patience
            while not self._has_said(job, 1.0) and job.state() in BEFORE_ITS_END and time.monotonic() < deadline:
                pass

    @staticmethod
    def _has_said(job: world.Job, within: float) -> bool:
        """Whether docker goes on in it. Marks cost nothing; each squeue a tenth of a second of lab (b)'s processor."""
        return world.until(lambda: job.told("survived") or job.told("hopeless"), within)

    def _until_up(self, job: world.Job) -> None:
        world.until(lambda: job.told("up") or job.state() not in BEFORE_ITS_END, self.patience, 0.4)

    def _end_jobs(self) -> None:
        for job in self.jobs.values():
            if self.round.step == "epilog":
                job.go()
            if self.round.ends == "scancel" or (self.round.fault, self.round.step) in NEVER_ENDED:
                world.run("scancel", str(job.id), user=job.user)

    def _until_gone(self, name: str) -> None:
        job = self.jobs[name]
        began = time.monotonic()
        requeued = False
        while state := job.state():
            if state == "PENDING" and time.monotonic() - began > 1.0:
                requeued = True
                world.run("scancel", str(job.id))
            if time.monotonic() - began > GONE_WITHIN:
                break
            time.sleep(0.3)
        self.seen["jobs"][name] = {
            **job.facts(),
            "id": job.id,
            "requeued": requeued,
            "stuck": state,
            "survived": job.told("survived"),
            "hopeless": job.told("hopeless"),
            "begun": job.told("begun"),
            "output": job.output(),
        }

    def _audit(self, daemon: innocents.Daemon | None) -> None:
        allowed = self.innocents.allowed()
        if daemon:
            allowed.pids.add(daemon.pid)
        self.allowed = allowed
        self.seen["left"] = auditor.look(allowed)
        self.seen["drained"] = world.drained()
        if self.seen["left"] and not self.seen["drained"]:
            time.sleep(2.0)
            self.seen["left_later"] = auditor.look(allowed)
            self.seen["drained"] = world.drained()
            if self.seen["left_later"] and (self.round.fault, self.round.step) in plan.SWEPT:
                done = world.run("slurm-hooks", "sweep", "--older-than", "0", within=120)
                self.seen["swept"] = (done.stdout + done.stderr)[-400:]
                self.seen["left"] = self.seen["left_later"] = auditor.look(allowed)
        self.seen["harmed"] = self.innocents.harmed() + (daemon.harmed() if daemon else [])
        mine = {job.id for job in self.jobs.values()}
        told = [event for event in events() if event.get("job") in mine]
        self.seen["events"] = told[-80:]
        self.seen["during"] = [
            event["job"]
            for event in told
            if event["event"] == "epilog" and event["time"] - event["seconds"] <= self.ended + 0.5
            and event["time"] >= self.began
        ]  # fmt: skip

    def _recover(self) -> None:
        """The fault is over: what an operator does for each job that `report --node` names."""
        again = {}
        for job in self.jobs.values():
            if not list(Path(auditor.RECORDS).glob(f"{job.id}-*")):
                continue
            done = world.run("slurm-hooks", "epilog", str(job.id), within=120)
            again[str(job.id)] = [done.returncode, (done.stdout + done.stderr)[-400:]]
        self.seen["again"] = again
        self.seen["left_after"] = auditor.look(self.allowed)
        world.resume()


def events() -> list[dict[str, Any]]:
    """What the hooks have told, the newest part."""
    try:
        with open(EVENTS, "rb") as file:
            file.seek(max(0, Path(EVENTS).stat().st_size - 200_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def main() -> int:
    asked = json.load(sys.stdin)
    many = asked.pop("many")
    conductor = Conductor(plan.Round(**asked), many)
    alone = os.open("/run/lab-campaign.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(alone, fcntl.LOCK_EX)  # a round whose driver was ended still comes to its own end
    try:
        conductor.conduct()
    except world.Campaign as error:
        conductor.seen["broken"] = str(error)
    except Exception:
        conductor.seen["broken"] = traceback.format_exc()[-1500:]
    print(json.dumps(conductor.seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The job's states OPEN → CLOSING → gone, and all who act on them, in any order and dying anywhere.

The code of the record is the real one: jobs, notes, launch, orphans, keeper, the Epilog's way to its verdict, the
sweep. dockerd is a dict that works off its requests when it likes, and what a teardown does to it is done here. A
launch is the real coroutine, stopped at each word to dockerd; a broker that is killed does nothing more, and its locks
are free.

    owner    a container in dockerd is noted in a record, or has no record, where the sweep finds it by its label
    closing  nothing is asked of dockerd for a job that was closed under the lock
    verdict  when a job is buried no container of it is there, and no launch is at work
    live     nobody tears down a run that Slurm has running
    end      when all is over the sweep leaves nothing
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slurm_hooks import epilog, jobs, sweep
from slurm_hooks.broker import containers, keeper, launch, notes
from slurm_hooks.broker.relay import Upstream
from tests.property.world import Killed, World, cgroup, never
from tests.unit.policy import SITE
from tests.unit.test_jobs import ENVIRON, job_of

IDS = (1, 2)
RUNS = 3  # of each job


class Model(World, RuleBasedStateMachine):
    """All who act."""

    @initialize(slow=st.booleans())
    def begin(self, *, slow: bool) -> None:
        self.slow = slow
        self.move_in()

    def teardown(self) -> None:
        try:
            self.end_flows()
            self._all_is_over()
        finally:
            self.patch.undo()
            shutil.rmtree(self.top)

    def _all_is_over(self) -> None:
        while self.dockerd.queue:
            self.dockerd.work(self.dockerd.queue.pop(0))
        self.runs = dict.fromkeys(self.runs, "over")
        self.data = None
        for _ in range(2):  # the first may find what the second adopts
            list(sweep.sweep(0))
        assert self.dockerd.containers == {}
        assert jobs.keys() == []

    def _some(self, state: str) -> str:
        return str(self.data.draw(st.sampled_from(sorted(key for key, now in self.runs.items() if now == state))))

    def _environ(self, key: str) -> dict[str, str]:
        number, restart, _ = key.split("-")
        start = str(100 * int(restart) + 1)
        return ENVIRON | {
            "SLURM_JOB_ID": number, "SLURM_JOB_RESTART_COUNT": restart, "SLURM_JOB_START_TIME": start,
        }  # fmt: skip

    def _waiting(self) -> list[int]:
        """The jobs that may begin, or begin again."""
        runs = {number: [key for key in self.runs if key.startswith(f"{number}-")] for number in IDS}
        return [n for n, keys in runs.items() if len(keys) < RUNS and all(self.runs[key] == "over" for key in keys)]

    @precondition(lambda self: self._waiting())
    @rule(data=st.data(), half=st.integers(0, 9))
    def prolog(self, data: Any, half: int) -> None:
        """A job begins, or begins again."""
        number = data.draw(st.sampled_from(self._waiting()))
        restart = sum(key.startswith(f"{number}-") for key in self.runs)
        key = jobs.key(number, restart, job_of().boot)
        job = job_of(**self._environ(key))
        self.clock += 1
        job.cgroup, job.figure, job.opened = cgroup(number), 4096, float(self.clock)
        self.runs[key] = "running"
        if half == 0 and not self.half:  # the Prolog was killed. Two of these in a row nobody can tell apart
            self.half = True
            (Path(jobs.directory(key)) / "containers").mkdir(parents=True)
        else:
            jobs.create(job)

    @precondition(lambda self: "running" in self.runs.values())
    @rule(data=st.data(), missed=st.booleans())
    def job_ends(self, data: Any, *, missed: bool) -> None:
        """Slurm takes it for over whatever comes of its Epilog; where slurmd is dead none comes."""
        self.data = data
        key = self._some("running")
        self.runs[key] = "completing"
        self._meanwhile_of_slurm()
        if not missed:
            self._epilog_of(key, early=data.draw(st.integers(0, 1)))
        self.runs[key] = "over"

    def _meanwhile_of_slurm(self) -> None:
        try:
            self.meanwhile()
        except Killed:
            pass

    @precondition(lambda self: "over" in self.runs.values())
    @rule(data=st.data())
    def epilog_again(self, data: Any) -> None:
        """A second one comes late, or a person's."""
        self.data = data
        self._epilog_of(self._some("over"), early=1)

    def _epilog_of(self, key: str, early: int) -> None:
        environ = self._environ(key)
        # slurmctld counts a requeue before it ends the run.
        environ["SLURM_JOB_RESTART_COUNT"] = str(int(environ["SLURM_JOB_RESTART_COUNT"]) + early)
        try:
            for job in epilog.ended(environ):
                epilog.closed(job)
        except Killed:
            pass

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def sweep(self, data: Any) -> None:
        self.data = data
        try:
            list(sweep.sweep(0))
        except Killed:
            pass

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), image=st.sampled_from(["img", "img", "img", "hostile"]))
    def create(self, data: Any, image: str) -> None:
        self.data = data
        self.ask_to_create(image)
        self.work_once()

    @precondition(lambda self: self.dockerd.containers)
    @rule(data=st.data())
    def start(self, data: Any) -> None:
        self.data = data
        key = data.draw(st.sampled_from(sorted({one["Labels"]["slurm-hooks.job"] for one in self.dockerd.labelled()})))
        if (asker := self.asker(key)) is not None:
            mine = [note for note in notes.of(asker.job) if note.id]
            if mine:
                self.launched(launch.start(cast(Upstream, self), SITE, asker, data.draw(st.sampled_from(mine))), key)

    @precondition(lambda self: self.flows or self.dockerd.queue)
    @rule(data=st.data(), steps=st.integers(1, 8))
    def work(self, data: Any, steps: int) -> None:
        self.data = data
        for _ in range(steps):
            self.work_once()

    @precondition(lambda self: any(flow.key for flow in self.flows))
    @rule(data=st.data())
    def client_leaves(self, data: Any) -> None:
        self.advance(data.draw(st.sampled_from([flow for flow in self.flows if flow.key])), asyncio.CancelledError())

    @precondition(lambda self: self.flows)
    @rule()
    def kill_broker(self) -> None:
        self.renew_broker()

    @precondition(lambda self: self.slow and self.dockerd.queue)
    @rule()
    def dockerd_works(self) -> None:
        self.dockerd.work(self.dockerd.queue.pop(0))

    @precondition(lambda self: self.dockerd.queue)
    @rule()
    def dockerd_restarts(self) -> None:
        """What it has not done it never does, and nobody gets an answer."""
        for request in self.dockerd.queue:
            request.lost = True
        self.dockerd.queue = []
        self.dockerd.events = []

    @precondition(lambda self: self.dockerd.events)
    @rule()
    def keeper_hears(self) -> None:
        self.launched(keeper._happened(cast(Upstream, self), self.dockerd.events.pop(0)))

    @precondition(lambda self: self.dockerd.containers and not containers.RENAMING.locked())
    @rule()
    def keeper_reconciles(self) -> None:
        self.launched(keeper.reconcile(cast(Upstream, self)))

    @invariant()
    def every_container_has_an_owner(self) -> None:
        if not self.runs:
            return
        without = sweep.orphans()
        for one in self.dockerd.labelled():
            key, nonce = one["Labels"]["slurm-hooks.job"], one["Labels"]["slurm-hooks.nonce"]
            noted = Path(jobs.directory(key), "containers", nonce).exists()
            # What is left of a burial that was broken off the sweep removes first: then there is no record.
            buried = (job := jobs.load(key)) is not None and job.state == jobs.GONE
            never(not noted and not buried and key not in without, f"owner: nobody looks for {one['Id'][-4:]} of {key}")


TestModel = Model.TestCase
# The same 100 ways each time, in some seconds; a longer search is another each time: EXAMPLES=5000.
TestModel.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "100")),
    derandomize="EXAMPLES" not in os.environ,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

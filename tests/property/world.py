# SPDX-License-Identifier: Apache-2.0
"""The world of test_job_model: dockerd as a dict, slurmctld as a table, the broker's coroutines, each at its step."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import strategies as st

from slurm_hooks import controller, epilog, jobs, linux, presence, sweep, teardown
from slurm_hooks.broker import containers, images, launch, notes, orphans, rootfs, sockets
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.cgroups import slurm
from slurm_hooks.controller import Here
from slurm_hooks.errors import HooksError, NodeFault, Refused
from slurm_hooks.settings import Settings
from tests.unit.conftest import moved_to
from tests.unit.policy import cli

HOSTILE = "sha256:" + "bad" + "0" * 61
IMAGES = {"img": "sha256:" + "0" * 64, "hostile": HOSTILE}


def cgroup(number: object) -> str:
    """A job's, the same for each of its runs."""
    return f"/slurm/uid_1001/job_{number}"


def never(wrong: bool, what: str) -> None:  # noqa: FBT001 (the condition, as for assert)
    """Fail, past `except Exception` too, with which the Epilog keeps a bug of ours from draining a clean node."""
    if wrong:
        pytest.fail(what)


class Killed(BaseException):
    """SIGKILL to a hook."""


class Pause:
    """Where a coroutine waits for dockerd, and anything may happen."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass(eq=False)
class Request:
    """A word to dockerd that changes something: done when dockerd likes, or lost with it."""

    method: str
    path: str
    body: dict[str, Any] | None
    answer: tuple[int, Any] | None = None
    lost: bool = False


@dataclass
class Dockerd:
    """The jobs' dockerd."""

    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    queue: list[Request] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    def networks(self) -> list[dict[str, Any]]:
        """No job of the model asks for one."""
        return []

    def of(self, label: str) -> list[dict[str, Any]]:
        """As GET /containers/json has them."""
        name, _, value = label.partition("=")
        return [one for one in self.containers.values() if value in ("", one["Labels"].get(name))]

    def work(self, request: Request) -> None:
        """Do what is asked."""
        _, _, of, *verb = request.path.split("/")
        if of == "create":
            assert request.body is not None
            self.number += 1
            made = f"{self.number:064x}"
            self.containers[made] = {
                "Id": made, "Image": request.body["Image"], "Created": 1, "Labels": request.body["Labels"],
                "HostConfig": request.body["HostConfig"], "Config": request.body, "State": {},
            }  # fmt: skip
            self._tell("create", made)
            request.answer = 201, {"Id": made}
        elif of not in self.containers:
            request.answer = 404, {"message": "No such container"}
        elif request.method == "DELETE":
            self._tell("destroy", of)
            del self.containers[of]
            request.answer = 204, None
        else:
            self.containers[of]["State"] = {"Running": verb == ["start"], "Pid": 0}
            request.answer = 204, None

    def _tell(self, action: str, container: str) -> None:
        labels = self.containers[container]["Labels"]
        self.events.append({"Action": action, "Actor": {"Attributes": labels}})

    # -- as engine.Engine --

    def labelled(self) -> list[dict[str, Any]]:
        return self.of("slurm-hooks.job")

    def inspect(self, container: str) -> dict[str, Any]:
        return self.containers[container]


@dataclass(eq=False)
class Flow:
    """A coroutine of the broker's at work."""

    coroutine: Generator[None, None, Any]
    key: str = ""


class World:
    """What is there, and what the actors of no rule do."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.patch = pytest.MonkeyPatch()
        self.runs: dict[str, str] = {}  # key → running, completing, over: what Slurm knows
        self.clock = 0
        self.dockerd = Dockerd()
        self.flows: list[Flow] = []
        self.inside: Counter[str] = Counter()  # launches that hold a job
        self.overrun: set[str] = set()  # closed while a launch was at work, past the Epilog's deadline
        self.dying = False
        self.half = False
        self.slow = False  # dockerd works when nobody waits for it any more
        self.data: Any = None

    def move_in(self) -> None:
        """Put what is here in the place of what is not."""
        moved_to(self.top, self.patch)
        patch = self.patch.setattr
        patch(epilog, "BROKER_SECONDS", 0.0)
        patch(epilog, "EPILOG_SECONDS", 0.0)
        patch(epilog.config, "for_epilog", dict)  # type: ignore[attr-defined]
        patch(epilog, "drain", lambda job, why: None)
        patch(slurm, "place_of", lambda environ: slurm.Place(1, "/slurm", cgroup(environ["SLURM_JOB_ID"])))
        patch(presence, "anything", lambda job: False)
        patch(teardown, "verdict", self._torn_down)
        patch(jobs, "bury", self._buried(jobs.bury))
        patch(epilog, "hold", self._hold(epilog.hold))
        patch(launch, "held", self._held(launch.held))
        patch(rootfs, "refuse_links", self._refuse_links)
        patch(images, "used", lambda image: None)
        patch(containers, "RENAMING", asyncio.Lock())
        patch(sockets, "mark", lambda uid: None)
        patch(sweep, "_engine", lambda: self.dockerd)
        patch(controller, "connect", lambda: self)
        for name in ("begin", "amend", "lose", "drop"):
            patch(notes, name, self._alive(getattr(notes, name)))

    def _alive(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Of a broker that is being killed nothing comes any more."""
        return lambda *words, **more: words[1] if self.dying else real(*words, **more)

    def _held(self, real: Callable[[jobs.Job], Any]) -> Callable[[jobs.Job], Any]:
        @contextmanager
        def held(job: jobs.Job) -> Iterator[None]:
            with real(job):
                self.inside[job.key] += 1
                try:
                    yield
                finally:
                    self.inside[job.key] -= 1

        return held

    def _hold(self, real: Callable[[jobs.Job], linux.Locked]) -> Callable[[jobs.Job], linux.Locked]:
        def hold(job: jobs.Job) -> linux.Locked:
            never(self.runs.get(job.key) == "running", f"live: {job.key} is closed, which Slurm has running")
            lock = real(job)
            if not lock.held:
                self.overrun.add(job.key)
            return lock

        return hold

    def _buried(self, real: Callable[[jobs.Job], None]) -> Callable[[jobs.Job], None]:
        def bury(job: jobs.Job) -> None:
            if job.state == jobs.GONE:  # a burial that was broken off is done: its verdict was given before
                return real(job)
            never(self.inside[job.key] > 0, f"verdict: {job.key} is buried, and a launch is at work")
            never(bool(self.dockerd.of(f"slurm-hooks.job={job.key}")), f"verdict: {job.key} is buried with a container")
            if self.data is not None and self.data.draw(st.integers(0, 9)) == 0:  # killed on the way
                record = Path(jobs.directory(job.key))
                real(job)
                (record / "containers").mkdir(parents=True)
                raise Killed
            return real(job)

        return bury

    async def _refuse_links(self, up: Upstream, container: str) -> str:
        status, made = await up.value("GET", f"/containers/{container}/json")
        if status != 200:
            raise NodeFault("docker on this node")
        if made["Image"] == HOSTILE:
            raise Refused("links")
        return ""

    def _torn_down(self, job: jobs.Job, *_: object, **__: object) -> tuple[str, list[object]]:
        self.meanwhile()
        for one in self.dockerd.of(f"slurm-hooks.job={job.key}"):
            self.dockerd.work(Request("DELETE", f"/containers/{one['Id']}", None))
            self.meanwhile()
        left = self.dockerd.of(f"slurm-hooks.job={job.key}")
        return f"left {len(left)} containers" if left else "clean", []

    def meanwhile(self) -> None:
        """While a hook is at work others are, and it may die."""
        if self.data is None:
            return
        for _ in range(self.data.draw(st.integers(0, 3))):
            choice = self.data.draw(st.integers(0, 9))
            if choice == 0:
                raise Killed
            elif choice == 1:
                self.renew_broker()
            elif choice == 2:
                self.ask_to_create("img")
            else:
                self.work_once()

    # -- as controller.Controller --

    def drain(self, node: str, reason: str) -> None:
        raise AssertionError("the sweep drains by epilog.drain")

    def is_alive(self, job: int) -> bool:
        return job in self.on_node("")

    def on_node(self, node: str) -> dict[int, Here]:
        """slurmctld."""
        alive = ((key.split("-"), state) for key, state in self.runs.items() if state != "over")
        return {int(words[0]): Here(int(words[1]), state.upper()) for words, state in alive}

    # -- as relay.Upstream --

    async def value(
        self, method: str, path: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        """A word to dockerd, and its answer. Raises NodeFault where dockerd went meanwhile."""
        if self.dying:
            return 500, {"message": ""}
        if method == "GET":
            await cast(Awaitable[None], Pause())
            return self._read(path, query or {})
        request = Request(method, path, body)
        self._asked(request)
        self.dockerd.queue.append(request)
        while request.answer is None and not request.lost:
            await cast(Awaitable[None], Pause())
        if request.answer is None:
            raise NodeFault("dockerd", "went")
        await cast(Awaitable[None], Pause())  # done, and the answer on its way
        return request.answer

    def _read(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.startswith("/images/"):
            name = path.split("/")[2]
            return 200, {"Id": IMAGES[name], "RepoTags": [f"{name}:latest"]}
        if path == "/containers/json":
            return 200, self.dockerd.of(json.loads(query["filters"])["label"][0])
        found = self.dockerd.containers.get(path.split("/")[2])
        return (200, found) if found else (404, {"message": "No such container"})

    def _asked(self, request: Request) -> None:
        if request.path == "/containers/create":
            assert request.body is not None
            key = request.body["Labels"]["slurm-hooks.job"]
        elif request.path.endswith("/start"):
            known = self.dockerd.containers.get(request.path.split("/")[2])
            key = known["Labels"]["slurm-hooks.job"] if known else ""
        else:
            return
        if key and key not in self.overrun:
            job = jobs.load(key)
            never(job is None or job.state != jobs.OPEN, f"closing: {request.path} in {key}")

    def launched(self, coroutine: Any, key: str = "") -> None:
        self.flows.append(Flow(coroutine, key))
        self.advance(self.flows[-1])

    def advance(self, flow: Flow, error: BaseException | None = None) -> None:
        try:
            if error is None:
                flow.coroutine.send(None)
            else:
                flow.coroutine.throw(error)
        except (StopIteration, HooksError, asyncio.CancelledError):
            self.flows.remove(flow)

    def asker(self, key: str) -> Asker | None:
        job = jobs.load(key)
        return None if job is None or job.state == jobs.GONE else Asker(1, job.uid, job.gid, (), job)

    def ask_to_create(self, image: str) -> None:
        key = self.data.draw(st.sampled_from(sorted(self.runs)))
        if (asker := self.asker(key)) is not None:
            body = json.dumps(cli(Image=image)).encode()
            self.launched(launch.create(cast(Upstream, self), Settings(), asker, body, ""), key)

    def work_once(self) -> None:
        """A step of the broker's on any of its flows, or of dockerd's on any of what it is asked."""
        todo: list[Flow | Request] = [*self.flows, *(() if self.slow else self.dockerd.queue)]
        if not todo:
            return
        one = self.data.draw(st.sampled_from(todo)) if len(todo) > 1 else todo[0]
        if isinstance(one, Flow):
            self.advance(one)
        else:
            self.dockerd.queue.remove(one)
            self.dockerd.work(one)

    def end_flows(self) -> None:
        self.dying = True
        try:
            for flow in self.flows:
                flow.coroutine.close()
        finally:
            self.dying = False
        self.flows = []
        self.dockerd.events = []  # nobody was told

    def renew_broker(self) -> None:
        """SIGKILL. The next one is there at once, and looks after what this one has left."""
        self.end_flows()
        for job in jobs.everyone():
            if job.state == jobs.OPEN:
                self.launched(self._orphans(job.key))

    def _orphans(self, key: str) -> Any:
        async def retried() -> None:
            while not await orphans._settled(cast(Upstream, self), key):
                await cast(Awaitable[None], Pause())

        return retried()

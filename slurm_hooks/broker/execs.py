# SPDX-License-Identifier: Apache-2.0
"""docker exec: created and started as the job's user, read back from the kernel before its streams are joined."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from slurm_hooks import events, knobs, linux
from slurm_hooks.broker import model, notes, readback
from slurm_hooks.broker.launch import held, who
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Answer, Upstream
from slurm_hooks.errors import NodeFault, NotFound, Refused
from slurm_hooks.knobs import execs as policy

SEEN_SECONDS = 5.0  # dockerd tells the pid when runc has told it


async def create(up: Upstream, asker: Asker, note: notes.Note, body: bytes) -> tuple[int, Any]:
    """POST /containers/{id}/exec: (status, JSON value). Raises HooksError."""
    wanted: model.ExecCreate = model.decode(body, model.ExecCreate)
    fields = policy.create(wanted, note.asked.get("User") or f"{asker.uid}:{asker.gid}")
    with held(asker.job):
        status, said = await up.value("POST", f"/containers/{note.id}/exec", body=fields)
    if status == 201:
        events.record(
            "exec", job=asker.job.id, restart=asker.job.restart, container=note.name, id=note.id[:12],
            command=(wanted.cmd or [""])[0],
        )  # fmt: skip
    return status, said


async def start(up: Upstream, asker: Asker, exec_id: str, body: bytes, *, upgrade: bool) -> Answer:
    """POST /exec/{id}/start: dockerd's answer, a 101 where the client asked for one. Close it. Raises HooksError.

    dockerd sends its 101 before the process is there, and so do we: docker-py loses what comes in one piece with it.
    The streams are joined when the process was read back, so no byte of the client's reaches one that is not confined.
    """
    wanted: model.ExecStart = model.decode(body, model.ExecStart)
    note = await owner(up, asker, exec_id)
    if not wanted.detach and not upgrade:
        raise Refused("docker exec", "an attached exec needs `Upgrade: tcp`", "Use a client of this decade.")
    fields = policy.start(wanted)
    with held(asker.job):
        answer = await up.ask("POST", f"/exec/{exec_id}/start", body=fields, upgrade=upgrade)
        if answer.status == 101:
            return _Attached(answer, lambda: _read_back(up, asker, note, exec_id))
        try:
            if answer.status == 200:
                await _read_back(up, asker, note, exec_id)
        except BaseException:
            answer.close()
            raise
    return answer


class _Attached(Answer):
    """A 101 whose streams are joined after the read-back."""

    def __init__(self, answer: Answer, read_back: Callable[[], Awaitable[None]]) -> None:
        super().__init__(answer.channel, answer.h11)
        self.status, self.reason, self.headers = answer.status, answer.reason, answer.headers
        self._read_back = read_back

    async def proved(self) -> None:
        try:
            await self._read_back()
        except NodeFault as error:  # the client has its 101: nothing can be told any more but the end
            raise ConnectionAbortedError(str(error)) from None


async def owner(up: Upstream, asker: Asker, exec_id: str) -> notes.Note:
    """An exec belongs to the job whose container it is in; the container. Raises NotFound in moby's words."""
    status, said = await up.value("GET", f"/exec/{exec_id}/json")
    mine = {note.id: note for note in notes.of(asker.job) if note.id}
    if status != 200 or said.get("ContainerID") not in mine:
        raise NotFound(f"No such exec instance: {exec_id}")
    return mine[said["ContainerID"]]


async def _read_back(up: Upstream, asker: Asker, note: notes.Note, exec_id: str) -> None:
    """As launch.start does it for a container. Raises NodeFault where the process differs, which is ended."""
    job = asker.job
    pid = await _pid(up, exec_id)
    staged = note.asked.get("staged", {})
    seen = None
    if pid:
        await readback.own_program(pid)
        seen = readback.look(pid, job.version, staged)
    if seen is None:
        events.record("exec-start", job=job.id, restart=job.restart, container=note.name, read_back="ended before it")
        return
    wrong = knobs.verify(seen, who(asker, note), note.asked)
    if not wrong and seen.cgroup.rpartition("/")[2] != note.id:
        wrong = [f"cgroup: it is in {seen.cgroup}, not in its container's"]
    if wrong:
        linux.kill_where(seen.pid, lambda: readback.cgroup_of(seen.pid, job.version) == seen.cgroup)
        events.record("differs", job=job.id, restart=job.restart, container=note.name, pid=seen.pid, what=wrong)
        raise NodeFault(
            "this exec was ended", f"it was not confined as asked: {'; '.join(wrong)}", "Tell the operators."
        )
    events.record(
        "exec-start", job=job.id, restart=job.restart, container=note.name, pid=seen.pid, read_back="as asked"
    )


async def _pid(up: Upstream, exec_id: str) -> int:
    """The process of an exec that was told to start; 0 where it has ended, or could not begin. Raises NodeFault."""
    deadline = time.monotonic() + SEEN_SECONDS
    while time.monotonic() < deadline:
        status, said = await up.value("GET", f"/exec/{exec_id}/json")
        if status != 200 or (not said.get("Running") and said.get("ExitCode") is not None):
            return 0
        if said.get("Running") and said.get("Pid"):
            return int(said["Pid"])
        await asyncio.sleep(0.002)
    raise NodeFault("docker exec", f"dockerd tells no process of it within {SEEN_SECONDS:.0f} s", "Try again.")

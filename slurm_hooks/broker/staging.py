# SPDX-License-Identifier: Apache-2.0
"""The staging helper: opens bind sources as the user, tells what it opened, stages what the broker then admits.

A process of its own with a deadline, since a path may lead into a file system that hangs, and with one thread,
since it enters mount namespaces. Protocol, a JSON line each:

    broker → helper   {"pid", "uid", "gid", "groups", "remapped": [uid, gid] or none, "top",
                       "stages": [{"source", "readonly", "noexec"}]}    or  {"remove": path}
    helper → broker   {"opened": [{"path", "kind", "owner"}]}  or  {"error": [index, why, what to do]}
    broker → helper   {"go": true}                    or end of input
    helper → broker   {"staged": [path]}              or  {"error": [index, why, what to do]}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from slurm_hooks import stages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slurm_hooks.knobs.contract import JobFacts, Stage

SECONDS = 10.0
LIBRARY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = f"import sys; sys.path.insert(0, {LIBRARY!r}); from slurm_hooks.broker import staging; staging.main()"


# -- the broker's side -----------------------------------------------------------------------------


async def stage(asker_pid: int, job: JobFacts, wishes: tuple[Stage, ...]) -> dict[str, str]:
    """Stage all bind mounts of a container: target → staged path. Raises Refused or NodeFault."""
    from slurm_hooks.errors import NodeFault, Refused
    from slurm_hooks.knobs.mounts import OWN_WAY, admit

    helper = await _started()
    try:
        async with asyncio.timeout(SECONDS):
            opened = await _told(
                helper,
                pid=asker_pid,
                uid=job.uid,
                gid=job.gid,
                groups=list(job.groups),
                remapped=[job.remapped.uid, job.remapped.gid] if job.remapped else [],
                top=stages.directory(job.key, job.nonce),
                stages=[{name: getattr(wish, name) for name in ("source", "readonly", "noexec")} for wish in wishes],
            )
            _raise_error(opened, wishes)
            for wish, found in zip(wishes, opened["opened"], strict=True):
                if why := admit(wish, found["path"], found["kind"], found["owner"]):
                    raise Refused(f"-v {wish.source}", why, OWN_WAY)
            staged = await _told(helper, go=True)
            _raise_error(staged, wishes)
            return {wish.target: path for wish, path in zip(wishes, staged["staged"], strict=True)}
    except TimeoutError:
        sources = ", ".join(wish.source for wish in wishes)
        raise NodeFault(f"-v {sources}", f"no answer of its file system in {SECONDS:.0f} s") from None
    finally:
        _ended(helper)


async def unstage(key: str, nonce: str) -> None:
    """Remove the stages of a container, in the host's mount namespace. Raises nothing."""
    path = stages.directory(key, nonce)
    if not os.path.isdir(path) or stages.remove_own(path):
        return
    helper = await _started()
    try:
        async with asyncio.timeout(SECONDS):
            await _told(helper, remove=path)
    except (TimeoutError, ValueError):
        pass  # the Epilog looks again
    finally:
        _ended(helper)


async def _started() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", PROGRAM, stdin=pipe, stdout=pipe)


async def _told(helper: asyncio.subprocess.Process, **message: Any) -> dict[str, Any]:
    assert helper.stdin is not None and helper.stdout is not None
    helper.stdin.write(json.dumps(message).encode() + b"\n")
    answer = await helper.stdout.readline()
    said: dict[str, Any] = json.loads(answer or b'{"error": [0, "the staging helper died", "Tell the operators."]}')
    return said


def _raise_error(answer: dict[str, Any], wishes: tuple[Stage, ...]) -> None:
    from slurm_hooks.errors import Refused

    if "error" in answer:
        index, why, todo = answer["error"]
        raise Refused(f"-v {wishes[index].source}", why, todo)


def _ended(helper: asyncio.subprocess.Process) -> None:
    if helper.stdin is not None:
        helper.stdin.close()
    if helper.returncode is None:
        try:
            helper.kill()  # through with it, or hanging in a file system: asyncio's child watcher reaps it
        except ProcessLookupError:
            pass


# -- the helper's side -----------------------------------------------------------------------------


def main() -> None:
    """The helper process: root, one thread, one job."""
    wish = json.loads(sys.stdin.readline())
    if "remove" in wish:
        _in_host_view(wish["remove"])
        _say(removed=True)
        return
    index = 0
    found: list[dict[str, Any]] = []
    try:
        # The pid is the asker's, whose pidfd the broker probes before and after: if it died meanwhile, and its
        # number was given to another process, the broker refuses what we opened.
        views = stages.Views(wish["pid"])
        root = wish["remapped"]
        users = stages.identities(wish["uid"], wish["gid"], wish["groups"], root) if root else 0
        views.enter_asker()
        trees: list[int] = []
        for index, one in enumerate(wish["stages"]):  # noqa: B007 (index names the culprit below)
            fd, what = stages.open_as(one["source"], wish["uid"], wish["gid"], wish["groups"])
            found.append({"path": views.real_path(fd), "kind": stages.kind_of(what.st_mode), "owner": what.st_uid})
            trees.append(fd)
        _say(opened=found)
        if not json.loads(sys.stdin.readline() or "{}").get("go"):
            return
        # open_tree(2) wants the mount to be of the namespace that we are in, so it comes before the way back.
        for index, one in enumerate(wish["stages"]):
            trees[index] = stages.detached(
                trees[index], readonly=one["readonly"], noexec=one["noexec"], user_namespace=users
            )
        views.enter_host()
        places = [f"{wish['top']}/{number}" for number in range(len(trees))]
        for index, place in enumerate(places):
            stages.put(trees[index], place, found[index]["kind"])
        _say(staged=places)
    except OSError as error:
        path = found[index]["path"] if index < len(found) else wish["stages"][index]["source"]
        _say(error=[index, *stages.why_not(error, path)])


def _in_host_view(path: str) -> None:
    views = stages.Views(1)
    views.enter_host()
    stages.remove(path)


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)

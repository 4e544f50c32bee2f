# SPDX-License-Identifier: Apache-2.0
"""A culprit in words: what an operator reads in a drain reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import escapes, events, teardown
from slurm_hooks.escapes import Left
from tests.unit.test_jobs import job_of

# Names itself, says that it has, and waits for its standard input to end.
PROGRAM = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode("utf-8", "surrogateescape"), 0, 0, 0)
print("named", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def named(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process whose comm is the parameter."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, request.param], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"named\n"
    yield process.pid
    process.kill()
    process.communicate()


@pytest.mark.parametrize("named", ["solver"], indirect=True)
def test_a_process_is_described_by_pid_name_and_state(named: int) -> None:
    assert escapes.described(named).startswith(f"pid {named} solver, state ")


@pytest.mark.parametrize("named", ["a\nb", "a\x1b[2J", "a\x9bx"], indirect=True, ids=["newline", "escape", "CSI"])
def test_the_name_of_a_process_cannot_forge_a_line(named: int) -> None:
    assert escapes.described(named).isprintable()


def test_a_process_that_is_gone_is_no_culprit() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert escapes.described(process.pid) == ""


def test_a_zombie_is_no_culprit() -> None:
    process = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert escapes.described(process.pid) == ""
    finally:
        process.wait()


def test_this_process_and_its_ancestors_are_innocent() -> None:
    assert {os.getpid(), os.getppid()} <= escapes.ourselves()


PROCESS = Left("process", "pid 9 cat, state D", "x")
MOUNT = Left("mount", "/run/slurm-hooks/stage/x", "x")


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ([PROCESS], "slurm-hooks: job 4711 (ada) left pid 9 cat, state D: not ended by SIGKILL in 8 s; "),
        ([MOUNT, PROCESS], "slurm-hooks: job 4711 (ada) left pid 9 cat, state D and 1 more: not ended by SIGKILL"),
        ([MOUNT], "slurm-hooks: job 4711 (ada) left /run/slurm-hooks/stage/x; "),
    ],
    ids=["a process", "the process first", "no process"],
)
def test_a_drain_reason_names_job_user_and_culprit(left: list[Left], words: str) -> None:
    reason = teardown.reason(job_of(), left)
    assert reason.startswith(words)
    assert "\n" not in reason


def test_a_drain_reason_names_a_bug_of_ours_in_the_place_of_what_was_not_waited_for() -> None:
    reason = teardown.reason(job_of(), [PROCESS], "OSError: [Errno 22] Invalid argument")
    assert reason.startswith("slurm-hooks: job 4711 (ada) left pid 9 cat, state D; bug: OSError: [Errno 22] ")


class Broken:
    """An operation with a bug."""

    def do(self, node: teardown.Node) -> None:
        raise OSError(22, "Invalid argument")

    def __str__(self) -> str:
        return "end every process"


@pytest.mark.parametrize("left", [[], [PROCESS]], ids=["nothing left", "a process left"])
def test_an_operation_with_a_bug_does_not_cost_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: list[Left]
) -> None:
    done: list[object] = []
    told: list[str] = []

    class Counted(Broken):
        def do(self, node: teardown.Node) -> None:
            done.append(node)

    monkeypatch.setattr(teardown, "plan", lambda *_: [Broken(), Counted()])
    monkeypatch.setattr(escapes, "everything", lambda *_, **__: left)
    monkeypatch.setattr(escapes, "beside", lambda *_, **__: [])
    monkeypatch.setattr(events, "record", lambda event, **fields: told.append(f"{event}: {fields.get('why')}"))
    verdict, _ = teardown.verdict(job_of(), str(tmp_path / "docker.sock"), str(tmp_path))
    assert len(done) == 1
    assert told[0] == "epilog-bug: end every process: OSError: [Errno 22] Invalid argument"
    assert verdict == "clean" if not left else "; bug: OSError: [Errno 22]" in verdict


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(("uid", "found"), [(0, 1), (61_234, 0)], ids=["containerd's", "a user's, by its name"])
def test_a_shim_is_roots(uid: int, found: int) -> None:
    container = "5a" * 32
    argv = ["/usr/bin/python3", "-I", "-c", PROGRAM, "containerd-shim-runc-v2", "-id", container]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=uid, cwd="/")
    try:
        assert process.stdout is not None and process.stdout.readline() == b"named\n"
        for known in (0, process.pid):
            shims = escapes.shims({container: escapes.Noted(shim=known), "5b" * 32: escapes.Noted(shim=1)})
            assert [one.kind for one in shims] == ["shim"] * found
            assert all(one.what == f"pid {process.pid} python3 of {container[:12]}" for one in shims)
    finally:
        process.kill()
        process.communicate()

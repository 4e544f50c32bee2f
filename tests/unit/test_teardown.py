# SPDX-License-Identifier: Apache-2.0
"""The teardown's operations on real processes and on trees that look like the kernel's."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm_hooks import linux, tasks
from slurm_hooks.cgroups.v1 import V1
from slurm_hooks.teardown import Ask, Node

CATCHES = "import signal, time; signal.signal(15, lambda *_: {}); print(flush=True); time.sleep(60)"
IGNORES = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"


class Pids(V1):
    """A cgroup of processes that the test started."""

    def __init__(self, *processes: subprocess.Popen[bytes]) -> None:
        super().__init__("/nowhere")
        self._processes = processes

    def processes(self, path: str) -> list[int]:
        return [process.pid for process in self._processes if process.poll() is None]


def asked(program: str, seconds: int) -> tuple[int | None, float]:
    """The exit status of a program that was asked to end (None: it runs on), and how long that took in seconds."""
    with subprocess.Popen([sys.executable, "-IS", "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        (own, *_) = linux.cgroup_lines(linux.read(f"/proc/{process.pid}/cgroup")).values()
        Ask((own,), seconds).do(Node(Pids(process), ""))
        took = time.monotonic() - began
        status = process.poll()
        process.kill()
    return status, took


def test_a_process_that_has_left_the_cgroup_is_not_asked() -> None:
    program = "import signal, time; signal.signal(15, lambda *_: 1 / 0); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-IS", "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        Ask(("/job/c1",), 0).do(Node(Pids(process), ""))  # listed there a moment ago
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()


def test_what_catches_sigterm_gets_the_time_to_end() -> None:
    status, took = asked(CATCHES.format("sys.exit(3)").replace("import ", "import sys, ", 1), 20)
    assert status == 3 and took < 15


def test_a_program_that_gives_its_handler_back_and_cleans_up_is_waited_for() -> None:
    cleaning = "signal.signal(15, lambda *_: (signal.signal(15, signal.SIG_DFL), time.sleep(1), sys.exit(3)))"
    status, took = asked(f"import signal, sys, time; {cleaning}; print(flush=True); time.sleep(60)", 20)
    assert status == 3 and 1 <= took < 15


def test_what_catches_it_and_goes_on_is_waited_for_no_longer_than_the_grace() -> None:
    status, took = asked(CATCHES.format("None"), 1)
    assert status is None and 1 <= took < 5


def test_what_ignores_it_is_not_waited_for() -> None:
    status, took = asked(IGNORES, 20)
    assert status is None and took < 5


@pytest.fixture
def v1(tmp_path: Path) -> V1:
    """Hierarchies with a job each; systemd's two are such as runc makes and Slurm does not remove."""
    for name in ("freezer", "memory", "pids", "systemd", "unified"):
        (tmp_path / name / "slurm" / "uid_1" / "job_7").mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").touch()
    return V1(str(tmp_path))


def test_every_hierarchy_is_swept_with_steps_containers_and_an_empty_uid(v1: V1) -> None:
    for below in ("freezer/slurm/uid_1/job_7/step_0/task_0", "systemd/slurm/uid_1/job_7/c1/nested"):
        Path(v1.mount, below).mkdir(parents=True)
    assert v1.remove("/slurm", "/slurm/uid_1/job_7") == []
    assert sorted(str(path.relative_to(v1.mount)) for path in Path(v1.mount).rglob("slurm/*")) == []
    assert not v1.exists("/slurm/uid_1/job_7")


def test_another_job_of_the_user_keeps_its_uid_directory(v1: V1) -> None:
    other = Path(v1.mount, "memory/slurm/uid_1/job_8/step_0")
    other.mkdir(parents=True)
    assert v1.remove("/slurm", "/slurm/uid_1/job_7") == []
    assert other.is_dir() and not Path(v1.mount, "freezer/slurm/uid_1").exists()


def test_what_cannot_be_removed_is_told_by_its_whole_path(v1: V1) -> None:
    held = Path(v1.mount, "pids/slurm/uid_1/job_7")
    (held / "held").touch()  # a plain file holds a directory as a process holds a cgroup
    assert v1.remove("/slurm", "/slurm/uid_1/job_7") == [str(held)]


def test_a_task_is_found_in_whatever_namespace_and_only_by_a_whole_id(tmp_path: Path) -> None:
    container = "ab" * 32
    state = (str(tmp_path), "/a.sock")
    (tmp_path / "io.containerd.runtime.v2.task" / "moby" / container).mkdir(parents=True)
    (found,) = tasks.of([container, "*", "../" * 21 + "a", "c" * 64], (state,))
    assert (found.id, found.namespace, found.socket) == (container, "moby", "/a.sock")

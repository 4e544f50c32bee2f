# SPDX-License-Identifier: Apache-2.0
"""A fault of a lab's own kernel is no result: what was running runs again, once; no other failure does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.labs.machine import KernelFault, NodeLost
from tests.labs.uml import Uml

ROOT = Path(__file__).parents[2]
PANIC = "\n[1.2] Kernel panic - not syncing: {}\n" + "Call Trace:\n" * 60


@pytest.mark.parametrize(
    ("said", "fault"),
    [("Segfault without recovery target", True), ("Segfault with no mm", True), ("sysrq triggered crash", False)],
)
def test_a_node_that_ended_by_a_fault_of_its_kernel_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, *, fault: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    node = Uml()
    node.run.mkdir()
    node.console.write_text(PANIC.format(said))
    with pytest.raises(NodeLost) as lost:
        node.sh(node.controller, "true")
    assert isinstance(lost.value, KernelFault) is fault
    assert not node.alive()


TESTS = """
import pytest
from tests.labs.machine import KernelFault, NodeLost

RUNS = []

@pytest.fixture
def cluster():
    RUNS.append(1)

def test_it(cluster):
    if len(RUNS) <= {times}:
        raise {error}("it ended while a command ran")
"""


@pytest.mark.parametrize(
    ("error", "times", "told"),
    [
        ("KernelFault", 1, "1 passed, 1 rerun in"),
        ("KernelFault", 2, "1 failed, 1 rerun in"),
        ("NodeLost", 1, "1 failed in"),
        ("AssertionError", 1, "1 failed in"),
    ],
)
def test_what_its_kernel_has_failed_runs_once_more(tmp_path: Path, error: str, times: int, told: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS.format(error=error, times=times))
    suite = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run([*suite, f"--rootdir={tmp_path}", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert told in done.stdout, done

# SPDX-License-Identifier: Apache-2.0
"""A fault of a lab's own kernel is no result: what was running runs again, once; no other failure does."""

from __future__ import annotations

import re
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
def cluster(request):
    RUNS.append(request.node.name)

@pytest.mark.parametrize(("error", "times"), [(KernelFault, 1), (KernelFault, 2), (NodeLost, 1), (AssertionError, 1)])
def test_it(request, cluster, error, times):
    if RUNS.count(request.node.name) <= times:
        raise error("it ended while a command ran")
"""
OUTCOMES = {
    "test_it[KernelFault-1]": ["RERUN", "PASSED"],
    "test_it[KernelFault-2]": ["RERUN", "FAILED"],
    "test_it[NodeLost-1]": ["FAILED"],
    "test_it[AssertionError-1]": ["FAILED"],
}


def test_what_its_kernel_has_failed_runs_once_more(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    suite = [sys.executable, "-m", "pytest", "-v", "-c", "/dev/null", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run([*suite, f"--rootdir={tmp_path}", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    found: dict[str, list[str]] = {}
    for name, outcome in re.findall(r"^\S*test_it\.py::(\S+) ([A-Z]+) ", done.stdout, re.MULTILINE):
        found.setdefault(name, []).append(outcome)
    assert found == OUTCOMES, done
    assert "3 failed, 1 passed, 2 rerun in" in done.stdout, done

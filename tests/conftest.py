# SPDX-License-Identifier: Apache-2.0
"""Options of the whole suite."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.cluster.slurm import EVENTS, Cluster
from tests.labs import NAMES
from tests.labs.machine import KernelFault, NodeLost


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab`: where tests/cluster and tests/attacks run."""
    parser.addoption("--lab", default="compose", choices=NAMES, help="the cluster to run on")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test under which user-mode Linux itself has failed runs again, once; the run's last line counts it."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=[KernelFault]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails brings the last events of its nodes along: they may be gone when somebody reads why."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        for node in cluster.lab.nodes:
            try:
                events = cluster.sh(node, f"tail -qn 60 {EVENTS}.1 {EVENTS} 2>/dev/null | tail -n 60", timeout=10).out
            except NodeLost as lost:
                events = str(lost)
            report.sections.append((f"events of {node}", events))
    return report


def pytest_report_header(config: pytest.Config) -> str:
    """The lab is part of every result."""
    return f"lab: {config.getoption('--lab')}"

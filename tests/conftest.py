# SPDX-License-Identifier: Apache-2.0
"""Options of the whole suite."""

from __future__ import annotations

import pytest

from tests.labs import NAMES
from tests.labs.machine import KernelFault


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab`: where tests/cluster and tests/attacks run."""
    parser.addoption("--lab", default="compose", choices=NAMES, help="the cluster to run on")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test under which user-mode Linux itself has failed runs again, once; the run's last line counts it."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=[KernelFault]))


def pytest_report_header(config: pytest.Config) -> str:
    """The lab is part of every result."""
    return f"lab: {config.getoption('--lab')}"

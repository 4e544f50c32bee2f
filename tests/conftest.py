# SPDX-License-Identifier: Apache-2.0
"""Options of the whole suite."""

from __future__ import annotations

import pytest

from tests.labs import NAMES


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab`: where tests/cluster and tests/attacks run."""
    parser.addoption("--lab", default="compose", choices=NAMES, help="the cluster to run on")


def pytest_report_header(config: pytest.Config) -> str:
    """The lab is part of every result."""
    return f"lab: {config.getoption('--lab')}"

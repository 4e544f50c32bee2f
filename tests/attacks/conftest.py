# SPDX-License-Identifier: Apache-2.0
"""The cluster of tests/cluster, and its idle, clean node: what a failed test left running is ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import cluster
from tests.cluster.slurm import Cluster

__all__ = ["cluster", "node"]


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """As the suite's own, whatever the test leaves undone."""
    if not cluster.lab.alive():
        cluster.lab.up()
    cluster.wait_idle(cluster.node)
    yield cluster.node
    cluster.cancel_all()
    cluster.wait_idle(cluster.node)
    assert cluster.left_on(cluster.node) == []

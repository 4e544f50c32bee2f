# SPDX-License-Identifier: Apache-2.0
"""The cluster of the lab that `--lab` names: up once a session, left running for the next one.

With `-n` (pytest-xdist) each worker has a node of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster
from tests.labs import lab_named
from tests.labs.base import LabMissing


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A running cluster, every node idle."""
    lab = lab_named(request.config.getoption("--lab"), os.environ.get("PYTEST_XDIST_WORKER", ""))
    try:
        lab.up()
    except LabMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"lab {lab.name} cannot run here: {error}")
        pytest.skip(f"lab {lab.name} cannot run here: {error}")
    return Cluster(lab)


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """A node that is idle before the test and on which nothing is left after it."""
    if not cluster.lab.alive():
        cluster.lab.up()
    cluster.cancel_all()
    cluster.wait_idle(cluster.node)
    yield cluster.node
    cluster.wait_idle(cluster.node)
    assert cluster.left_on(cluster.node) == []

# SPDX-License-Identifier: Apache-2.0
"""A minute of the campaign (tests/campaign), always the same rounds: `make faults` runs hundreds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from tests.campaign import plan
from tests.campaign.__main__ import MANY, line_of, on_node, played
from tests.cluster.slurm import Cluster

SEED, ROUNDS, SECONDS = 20, 8, 50.0  # no round begins after these


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[Cluster]:
    """A node without jobs, before and after."""
    cluster.wait_idle(cluster.node)
    yield cluster
    assert on_node(cluster.lab, "innocents", "").status == 0
    cluster.wait_idle(cluster.node)
    assert cluster.left_on(cluster.node) == []


def test_some_rounds_of_the_campaign(lab: Cluster) -> None:
    deadline = time.monotonic() + SECONDS
    rows = []
    for round_ in itertools.islice(plan.rounds(lab.lab.name, SEED), ROUNDS):
        rows.append(played(lab.lab, round_, MANY[lab.lab.name]))
        if time.monotonic() > deadline:
            break
    assert not any(row["violations"] for row in rows), "\n".join(map(line_of, rows))
    assert any(row["evidence"] for row in rows)

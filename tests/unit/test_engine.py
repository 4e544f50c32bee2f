# SPDX-License-Identifier: Apache-2.0
"""A dockerd that hangs in the middle is asked nothing more; one that is slow at one thing, as on a busy node, is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import engine
from slurm_hooks.errors import NodeFault
from tests.unit.dockerd import Dockerd, serving

IDS = [f"{number:064x}" for number in range(200)]


@pytest.fixture
def dockerd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dockerd]:
    monkeypatch.setattr(engine, "REQUEST_SECONDS", 1)
    with serving(Dockerd(str(tmp_path / "docker.sock"))) as made:
        yield made


def test_two_hundred_containers_wait_for_a_silent_dockerd_once(
    dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PING_SECONDS", 1)
    met = engine.Engine(dockerd.path)
    dockerd.silent = lambda asked: True
    began = time.monotonic()
    problems = met.remove(IDS)
    with pytest.raises(NodeFault):
        met.containers("1-0-abc")
    assert len(problems) == 200 and time.monotonic() - began < 8
    assert dockerd.removals <= engine.PARALLEL


def test_one_removal_that_takes_long_does_not_keep_the_others(dockerd: Dockerd) -> None:
    dockerd.silent = lambda asked: IDS[0] in asked
    met = engine.Engine(dockerd.path)
    assert [problem[:12] for problem in met.remove(IDS)] == ["0" * 12]
    assert dockerd.removals == 200
    dockerd.silent = lambda asked: False
    assert met.remove(IDS[:1]) == []


def test_a_list_that_came_too_late_is_asked_for_again_where_a_ping_is_answered(dockerd: Dockerd) -> None:
    dockerd.containers = (IDS[7],)
    dockerd.silent = lambda asked: "/json" in asked and len([one for one in dockerd.asked if "/json" in one]) == 1
    met = engine.Engine(dockerd.path)
    assert [one["Id"] for one in met.containers("1-0-abc")] == [IDS[7]]


def test_networks_of_a_silent_dockerd_are_not_waited_for_again(
    dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PING_SECONDS", 1)
    met = engine.Engine(dockerd.path)
    dockerd.silent = lambda asked: True
    assert met.remove_network("abc").startswith("abc: ")
    asked = len(dockerd.asked)
    with pytest.raises(NodeFault):
        met.networks()
    assert met.remove_network("def").startswith("abc: ") and len(dockerd.asked) == asked

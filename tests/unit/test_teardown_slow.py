# SPDX-License-Identifier: Apache-2.0
"""A dockerd that answers and is slow: what it could not end at first, it is asked for once more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import teardown
from slurm_hooks.cgroups.v1 import V1
from tests.unit.dockerd import Dockerd, serving

CONTAINER = "ab" * 32


LATE = 1.0  # seconds


class Slow(Dockerd):
    """The first DELETE waits as long as an Epilog does for all, and then fails."""

    def remove(self, container: str) -> tuple[int, object]:
        if self.removals > 1:
            return super().remove(container)
        time.sleep(LATE)  # as moby does, for an exit event that comes late
        return 500, {"message": "tried to kill container, but did not receive an exit event"}


@pytest.fixture
def dockerd(tmp_path: Path) -> Iterator[Dockerd]:
    with serving(Slow(str(tmp_path / "docker.sock"))) as made:
        made.containers = (CONTAINER,)
        yield made


def test_a_dockerd_that_answers_late_is_asked_once_more(dockerd: Dockerd) -> None:
    node = teardown.Node(V1("/nowhere"), dockerd.path)
    teardown.RemoveContainers("1-0-abc", (), seconds=LATE).do(node)
    assert (dockerd.containers, dockerd.removals) == ((), 2)
    assert node.engine is not None


class Kernel(V1):
    """A hierarchy in which a container's processes do not end."""

    def processes(self, path: str) -> list[int]:
        return [4242]


def test_what_the_kernel_does_not_let_go_dockerd_is_not_asked_for(dockerd: Dockerd) -> None:
    node = teardown.Node(Kernel("/nowhere"), dockerd.path)
    began = time.monotonic()
    teardown.RemoveContainers("1-0-abc", (CONTAINER,), (f"/slurm/uid_1001/job_1/{CONTAINER}",), 0.5).do(node)
    assert (dockerd.containers, dockerd.removals) == ((CONTAINER,), 0)
    assert 0.5 <= time.monotonic() - began < teardown.AGAIN_SECONDS


class Prompt(Dockerd):
    """It removes at once; CONTAINER is known to nobody but itself."""

    def remove(self, container: str) -> tuple[int, object]:
        super().remove(container)
        return 204, {}


def test_what_is_known_goes_without_a_list_and_what_is_not_after_one(tmp_path: Path) -> None:
    known = "cd" * 32
    with serving(Prompt(str(tmp_path / "docker.sock"))) as dockerd:
        dockerd.containers = (CONTAINER, known)
        node = teardown.Node(V1("/nowhere"), dockerd.path)
        teardown.RemoveContainers("1-0-abc", (known,)).do(node)
        verbs = [asked.split("?")[0].replace("/v1.44/containers/", "") for asked in dockerd.asked[1:]]
    assert verbs == [f"DELETE {known}", "GET json", f"DELETE {CONTAINER}", "GET json"]
    assert not node.listed and not dockerd.containers

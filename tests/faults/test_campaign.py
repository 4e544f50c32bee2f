# SPDX-License-Identifier: Apache-2.0
"""Five minutes of the campaign (tests/campaign), always the same rounds: `make faults` runs hundreds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.campaign import plan
from tests.campaign.__main__ import MANY, line_of, on_node, played
from tests.campaign.auditor import DATA
from tests.cluster.slurm import CONFIG, Cluster

SEED = 11025
SECONDS = {"compose": 250.0, "uml": 50.0}  # no round begins after these; lab (b) is the slower one of `make test`


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[Cluster]:
    """A node without jobs, before and after.

    The auditor knows no excuse, and attacks at dockerd itself (tests/attacks/test_endpoints.py) may leave the root of a
    container that dockerd has removed mounted: its own doing, with no job in it.
    """
    cluster.wait_idle(cluster.node)
    roots = f"grep -o '{DATA}/overlay2/[^ ]*/merged' /proc/mounts"
    cluster.must(cluster.node, f"{roots} | xargs -r -n 1 umount")
    yield cluster
    assert on_node(cluster.lab, "innocents", "").status == 0
    cluster.wait_idle(cluster.node)
    assert cluster.left_on(cluster.node) == []


LOOK = "from tests.campaign.auditor import Innocent, look; print(*look(Innocent()), sep='\\n')"
KINDS = {"cgroup", "container", "mount", "process", "record", "runtime", "stage", "state"}


def test_the_auditor_is_not_blind(lab: Cluster) -> None:
    cluster = lab
    job = cluster.sbatch("docker run -d -v $HOME:/w img sleep 600; echo begun; sleep 600")
    job.wait_for_output("begun")
    seen = cluster.must(cluster.node, f'cd /src && /usr/bin/python3 -B -c "{LOOK}"').splitlines()
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    assert {line.split()[0] for line in seen} == KINDS, seen
    assert cluster.must(cluster.node, f'cd /src && /usr/bin/python3 -B -c "{LOOK}"').split() == []


PULL = """
import subprocess
from tests.campaign import auditor, pulls, world
with pulls.offered():
    client = subprocess.Popen(["docker", "-H", "unix://" + auditor.DOCKER, "pull", "--quiet", pulls.IMAGE])
    world.must_until(auditor.pulls, "a pull that the auditor sees")
    client.kill()
    world.must_until(lambda: not auditor.pulls(), "its end")
"""


def test_the_auditor_sees_a_pull_that_goes_on(lab: Cluster) -> None:
    before = lab.must(lab.node, f"cat {CONFIG}")
    lab.must(lab.node, "cd /src && exec /usr/bin/python3 -B -", stdin=PULL)
    assert lab.must(lab.node, f"cat {CONFIG}") == before


@pytest.mark.timeout(900)
def test_some_rounds_of_the_campaign(lab: Cluster) -> None:
    deadline = time.monotonic() + SECONDS[lab.lab.name]
    rows = []
    for round_ in plan.rounds(lab.lab.name, SEED):
        rows.append(played(lab.lab, round_, MANY[lab.lab.name]))
        if time.monotonic() > deadline:
            break
    assert not any(row["violations"] for row in rows), "\n".join(map(line_of, rows))
    assert any(row["evidence"] for row in rows)

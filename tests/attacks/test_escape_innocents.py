# SPDX-License-Identifier: Apache-2.0
"""Many jobs of two users end beside daemons, logins and containers that are not theirs: none is touched or blamed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from slurm_hooks import config
from tests.attacks.test_escape_systemd import PREPARE, READY, UNDO
from tests.cluster.slurm import Cluster

SHAPES = ("sleep 0.2; (setsid sleep 600 &)", "setsid sleep 600 & sleep 0.1", "true", "docker run --rm img true")
# loginuid is set once, by a PAM login: here as an admin's `su ann` has it.
BYSTANDERS = """systemd-run -q --uid=ann --unit=by-ann sleep 7301
systemd-run -q --uid=bob --slice=system.slice --unit=by-bob --setenv=SLURM_JOB_ID=999999 sleep 7302
systemd-run -q --unit=by-root sh -c 'setsid sleep 7303 & exec sleep 7304'
loginctl enable-linger ann; {ready}
su ann -s /bin/sh -c 'XDG_RUNTIME_DIR=/run/user/1001 systemd-run --user -q sleep 7305'
sh -c 'echo 1002 > /proc/self/loginuid; exec setsid setpriv --reuid ann --clear-groups sleep 7306' &
docker -H unix:///run/slurm-hooks-docker/docker.sock run -d --network none --user 1001 --name by img sleep 7307"""
ALIVE = "pgrep -af 'sleep 730[1-7]$' | grep -v pgrep | grep -o '730[1-7]$' | sort -u | tr '\\n' ' '"
# While the jobs run, more of the users' own come that are not of a job.
MEANWHILE = """systemctl restart by-ann by-bob
sh -c 'echo 1002 > /proc/self/loginuid; exec setsid setpriv --reuid ann --clear-groups sleep 7306' &"""


@pytest.fixture
def bystanders(cluster: Cluster, node: str) -> Iterator[str]:
    """A node with what must live on."""
    if not cluster.has_systemd:
        pytest.skip("the lab's node has no systemd")
    cluster.must(node, PREPARE)
    cluster.must(node, BYSTANDERS.format(ready=READY))
    yield node
    cluster.sh(
        node, "systemctl stop by-ann by-bob by-root; docker -H unix:///run/slurm-hooks-docker/docker.sock rm -f by"
    )
    cluster.sh(node, "pkill -KILL -f 'sleep 730[1-7]$'")
    cluster.must(node, UNDO)


def submit(cluster: Cluster, node: str, user: str, number: int) -> list[int]:
    """Jobs of four shapes at once; their numbers."""
    script = f"""for n in $(seq {number // len(SHAPES)}); do for what in {" ".join(map(shlex.quote, SHAPES))}; do
    sbatch --parsable -w {node} -o /dev/null --mem=50 --wrap "$what"; done; done"""
    return [int(line) for line in cluster.must(cluster.lab.controller, script, user=user, timeout=120).split()]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [12, pytest.param(100, marks=(pytest.mark.long, pytest.mark.anywhere))])
def test_no_innocent_is_touched_or_blamed(cluster: Cluster, bystanders: str, number: int) -> None:
    before = cluster.must(bystanders, ALIVE).split()
    assert before == [str(mark) for mark in range(7301, 7308)]
    jobs = {job for user in ("ann", "bob") for job in submit(cluster, bystanders, user, number)}
    cluster.must(bystanders, MEANWHILE)
    cluster.wait(cluster.lab.controller, '[ -z "$(squeue -h)" ]', "the jobs' end", within=800)
    lines = cluster.must(bystanders, f"cat {config.EVENTS}").splitlines()
    events = [event for event in map(json.loads, lines) if event["job"] in jobs]
    assert sorted(event["verdict"] for event in events if event["event"] == "epilog") == ["clean"] * len(jobs)
    assert cluster.must(bystanders, ALIVE).split() == before
    assert [event for event in events if event["event"] in ("ended", "beside", "left", "drain")] == []

# SPDX-License-Identifier: Apache-2.0
"""Out of the job through daemons that start something for its user: sshd, atd, cron. Told of, never ended.

Nothing tells what a user's own login or crontab began in the job's time from what the job began by it. Each test
first shows that the process lives outside of the job. The marks are durations of sleep.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.test_escape_systemd import escaped, over, place
from tests.cluster.slurm import Cluster

DAEMONS = "ssh atd cron"
KEY = """mkdir -p -m 700 .ssh; rm -f .ssh/id; ssh-keygen -q -N '' -f .ssh/id; cp .ssh/id.pub .ssh/authorized_keys"""
SSH = "ssh -i .ssh/id -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


@pytest.fixture
def daemons(cluster: Cluster, node: str) -> Iterator[str]:
    """A node where all three run; afterwards nothing that they did for ann is left."""
    if not cluster.has_systemd:
        pytest.skip("the lab's node has no systemd")
    cluster.must(node, f"systemctl start {DAEMONS}")
    cluster.must(node, KEY, user="ann")
    yield node
    cluster.sh(node, "crontab -r; atrm $(atq | cut -f1); rm -rf .ssh", user="ann")
    cluster.must(node, "pkill -KILL -f '^sleep 721[0-9]$'; while pgrep -f '^sleep 721[0-9]$'; do sleep 0.1; done")
    cluster.must(node, f"systemctl stop {DAEMONS}")


@pytest.mark.parametrize(
    ("script", "mark", "where"),
    [
        (f"{SSH} localhost 'setsid sleep 7211 >/dev/null 2>&1 &'", 7211, "/system.slice/ssh.service"),
        ("echo 'exec sleep 7212' | at now", 7212, "/system.slice/atd.service"),
    ],
    ids=["ssh to the node itself", "at"],
)
def test_what_a_daemon_began_for_the_user_is_told_of(
    cluster: Cluster, daemons: str, script: str, mark: int, where: str
) -> None:
    job = escaped(cluster, daemons, script, mark)
    assert where in place(cluster, daemons, mark)
    assert over(cluster, job) == "clean"
    assert place(cluster, daemons, mark)
    (event,) = (event for event in job.events("beside") if event["kind"] == "escape")
    assert (event["weight"], "sleep" in event["what"], where in event["evidence"]) == ("likely", True, True), event


@pytest.mark.parametrize(
    ("script", "path"),
    [
        ("echo 'sleep 7213' | at now + 1 hour", "/var/spool/cron/atjobs/"),
        ("echo '0 0 1 1 * sleep 7214' | crontab -", "/var/spool/cron/crontabs/ann"),
    ],
    ids=["at", "cron"],
)
def test_what_will_begin_later_is_told_of(cluster: Cluster, daemons: str, script: str, path: str) -> None:
    job = cluster.run(script)
    assert job.events("epilog")[-1]["verdict"] == "clean"
    (event,) = job.events("beside")
    assert (event["kind"], path in event["what"]) == ("timer", True), event
    cluster.must(daemons, f"ls {path}")

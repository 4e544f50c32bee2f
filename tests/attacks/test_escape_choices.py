# SPDX-License-Identifier: Apache-2.0
"""What becomes of a process that got out of its job is the site's to choose: [epilog] of slurm-hooks.toml."""

from __future__ import annotations

import pytest

from tests.attacks.test_escape_systemd import IN_JOB, escaped, lingering, over, place, systemd
from tests.cluster.slurm import Cluster

__all__ = ["lingering", "systemd"]

OUT = "pgrep -f '^(/usr/bin/)?sleep {0}$' > /sys/fs/cgroup/cgroup.procs"  # a root helper's doing


def test_a_site_that_only_wants_to_be_told_is_told(cluster: Cluster, systemd: str) -> None:
    with cluster.site(systemd, '[epilog]\nescapes = "report"'):
        job = escaped(cluster, systemd, "sleep 7251 &", 7251)
        cluster.must(systemd, OUT.format(7251))
        assert over(cluster, job) == "clean"
    assert place(cluster, systemd, 7251) == "0::/"
    (event,) = job.events("beside")
    assert (event["kind"], event["weight"], "sleep" in event["what"]) == ("escape", "sure", True)


@pytest.mark.parametrize(
    ("setting", "script", "mark"),
    [("escapes", "sleep 7252 &", 7252), ("doubts", f"{IN_JOB}systemd-run --user -q sleep 7253", 7253)],
    ids=["its own without doubt", "likely its own"],
)
def test_a_site_that_wants_a_person_to_look_has_the_node_drained(
    cluster: Cluster, lingering: str, setting: str, script: str, mark: int
) -> None:
    with cluster.site(lingering, f'[epilog]\n{setting} = "drain"'):
        job = escaped(cluster, lingering, script, mark)
        if setting == "escapes":
            cluster.must(lingering, OUT.format(mark))
        verdict = over(cluster, job)
        assert f"job {job.id} (ann) left pid" in verdict and "sleep, state S outside of the job" in verdict
        assert place(cluster, lingering, mark)
        cluster.wait(cluster.lab.controller, f"sinfo -h -n {lingering} -o %T | grep -q drain", "the node drained")
        cluster.must(
            lingering,
            f"pkill -f '^(/usr/bin/)?sleep {mark}$'; while pgrep -f '^(/usr/bin/)?sleep {mark}$'; do sleep 0.1; done",
        )
        again = cluster.sh(lingering, f"slurm-hooks epilog {job.id}")
        assert (again.status, "nothing left" in again.out) == (0, True), again
    cluster.resume(lingering)

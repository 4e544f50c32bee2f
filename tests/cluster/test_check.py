# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check` on a node that is set up as docs/operators.md says, and on one that is not quite."""

from __future__ import annotations

import json

from tests.cluster.slurm import Cluster

SWEEP = "slurm-hooks-sweep.timer"


def said(cluster: Cluster, node: str) -> list[str]:
    """What it finds."""
    done = cluster.sh(node, "slurm-hooks check --json")
    found = json.loads(done.out)
    assert done.status == any(finding["level"] == "wrong" for finding in found), done
    return [finding["what"] for finding in found]


def test_it_finds_nothing_on_a_node_that_is_set_up_as_documented(cluster: Cluster, node: str) -> None:
    if cluster.has_systemd:
        (found,) = said(cluster, node)  # no timer is to meet a test
        assert found.startswith("the sweep's timer is not enabled")
        cluster.must(node, f"systemctl enable {SWEEP}")
    try:
        assert said(cluster, node) == []
    finally:
        cluster.sh(node, f"systemctl disable {SWEEP}")


def test_a_hook_that_slurm_does_not_run_is_found(cluster: Cluster, node: str) -> None:
    hook = "/etc/slurm/epilog.d/50-slurm-hooks"
    cluster.must(node, f"chmod -x {hook}; mv {hook} /root/epilog")
    try:
        assert "no Epilog of slurm.conf runs slurm-hooks: nothing ends what a job leaves" in said(cluster, node)
    finally:
        cluster.must(node, f"mv /root/epilog {hook}; chmod +x {hook}")


def test_a_dockerd_that_is_away_is_found(cluster: Cluster, node: str) -> None:
    cluster.service(node, "stop", "dockerd")
    try:
        assert any(what.startswith("dockerd at") and "does not answer" in what for what in said(cluster, node))
    finally:
        cluster.service(node, "start", "dockerd")

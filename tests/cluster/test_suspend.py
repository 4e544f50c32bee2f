# SPDX-License-Identifier: Apache-2.0
"""scontrol suspend: the job's containers stand still with its steps, and go on with them."""

from __future__ import annotations

from tests.cluster.slurm import Cluster


def test_containers_stand_still_with_a_suspended_job_and_go_on_with_it(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("""docker run -d --name goes img sleep 600; docker run -d --name stays img sleep 600
    docker pause stays; echo started; sleep 600""")
    job.wait_for_output("started")
    running, paused = (
        cluster.docker(node, f"ps -q --no-trunc --filter name={name}").out.strip() for name in ("goes", "stays")
    )
    states = (
        "find /sys/fs/cgroup/freezer -path '*/{0}' -exec cat {{}}/freezer.state \\;"
        if cluster.version == 1
        else "find /sys/fs/cgroup -path '*/{0}' -exec sed -n 's/^frozen 1/FROZEN/p;s/^frozen 0/THAWED/p' "
        "{{}}/cgroup.events \\;"
    )

    def wait(container: str, state: str) -> None:
        cluster.wait(node, f'[ "$({states.format(container)})" = {state} ]', f"{container[:12]} {state}", within=10)

    wait(running, "THAWED")
    cluster.must(cluster.lab.controller, f"scontrol suspend {job.id}")
    wait(running, "FROZEN")
    cluster.must(cluster.lab.controller, f"scontrol resume {job.id}")
    wait(running, "THAWED")
    wait(paused, "FROZEN")
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_suspended_job_ends_clean(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d img sleep 600; echo started; sleep 600")
    job.wait_for_output("started")
    cluster.must(cluster.lab.controller, f"scontrol suspend {job.id}")
    cluster.wait(node, f"[ -s /run/slurm-hooks/jobs/{job.id}-*/ops/suspended ]", "the containers frozen", within=10)
    job.cancel()
    assert job.wait()["verdict"] == "clean"

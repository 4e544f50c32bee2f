# SPDX-License-Identifier: Apache-2.0
"""A job ends while dockerd is away, hangs, or has lost a container: the kernel's view wins, the rest drains.

Away for good, restarting or killed: tests/faults/test_faults.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slurm_hooks import tasks
from tests.cluster.slurm import Cluster, Job

DOCKERD = "$(cat /run/slurm-hooks-docker/docker.pid)"
DATA = "/var/lib/slurm-hooks-docker"


@pytest.fixture
def job(cluster: Cluster, node: str) -> Iterator[Job]:
    """A job with two containers; dockerd answers again afterwards."""
    job = cluster.sbatch(
        "docker run -d --name n1 -v $HOME:/w img sleep 600; docker run -d --name n2 img sleep 600;echo begun; sleep 600"
    )
    job.wait_for_output("begun")
    yield job
    cluster.sh(node, f"kill -CONT {DOCKERD}")
    cluster.service(node, "start", "dockerd")
    job.cancel()
    if cluster.drain_reason(node):
        cluster.sh(node, f"slurm-hooks epilog {job.id}")
        cluster.resume(node)


def nothing_runs(cluster: Cluster, node: str) -> None:
    """No process of a container, no shim, no bundle of containerd's."""
    cluster.must(node, "! pgrep -u ann -fx 'sleep 600'; ! pgrep -f '[c]ontainerd-shim-runc-v2 -namespace'")
    assert cluster.must(node, "find /run/containerd -path '*v2.task/*/*' -prune | wc -l").strip() == "0"


@pytest.mark.parametrize("how", ["hung", "stopped"])
def test_what_runs_is_ended_all_the_same_and_the_node_drains(cluster: Cluster, node: str, job: Job, how: str) -> None:
    if how == "hung":  # it accepts connections, as the kernel does that for it, and never answers
        cluster.must(node, f"kill -STOP {DOCKERD}")
    else:
        cluster.service(node, "stop", "dockerd")
    job.cancel()
    epilog = job.wait()
    assert f"job {job.id} (ann)" in epilog["verdict"] and "dockerd" in epilog["verdict"], epilog
    assert epilog["seconds"] < 41, epilog  # docs/operators.md, without the start, the grace and slurmctld's share
    nothing_runs(cluster, node)
    cluster.wait(cluster.lab.controller, f"sinfo -h -n {node} -o %T | grep -q drain", "the node drained")
    if how == "hung":
        cluster.must(node, f"kill -CONT {DOCKERD}")
    else:
        cluster.service(node, "start", "dockerd")
    again = cluster.sh(node, f"slurm-hooks epilog {job.id}")
    assert (again.status, "nothing left" in again.out) == (0, True), again
    cluster.resume(node)


@pytest.mark.anywhere
def test_a_shim_that_hangs_is_ended_with_its_container(cluster: Cluster, node: str, job: Job) -> None:
    inspected = cluster.docker(node, f"inspect --format '{{{{.Id}}}}' slurm-{job.id}-0.n1")
    cluster.must(node, f"pkill -STOP -f -- '[-]id {inspected.out.strip()}'")
    job.cancel()
    # dockerd gives up after 10 s and removes the container, though containerd could not: nobody names it any more.
    assert job.wait()["verdict"] == "clean"
    nothing_runs(cluster, node)


@pytest.mark.anywhere
def test_a_containerd_that_hangs_drains_the_node_until_it_goes_on(cluster: Cluster, node: str, job: Job) -> None:
    cluster.must(node, "pkill -STOP -x containerd")
    job.cancel()
    try:
        epilog = job.wait()
        assert f"job {job.id} (ann)" in epilog["verdict"] and epilog["seconds"] < 41, epilog
        cluster.must(node, "! pgrep -u ann -fx 'sleep 600'")
        cluster.wait(cluster.lab.controller, f"sinfo -h -n {node} -o %T | grep -q drain", "the node drained")
    finally:
        cluster.must(node, "pkill -CONT -x containerd")
    again = cluster.sh(node, f"slurm-hooks epilog {job.id}")
    assert (again.status, "nothing left" in again.out) == (0, True), again
    nothing_runs(cluster, node)
    cluster.resume(node)


@pytest.mark.anywhere
@pytest.mark.parametrize("what", ["runs", "has ended", "is a mounted root and nothing else"])
def test_what_dockerd_has_forgotten_and_is_there_is_taken_down(
    cluster: Cluster, node: str, job: Job, what: str
) -> None:
    prefix = f"slurm-{job.id}-0"
    inspected = cluster.docker(node, f"inspect --format '{{{{.Id}}}} {{{{.State.Pid}}}}' {prefix}.n1")
    n1, pid = inspected.out.split()
    bundles = " ".join(f"{state}/io.containerd.runtime.v2.task/*/*/config.json" for state, _ in tasks.STATES)
    merged = cluster.must(node, f'cat {bundles} 2>/dev/null | grep -oP \'"root":{{"path":"\\K[^"]*\'; true')
    roots = "|".join(merged.split())
    cluster.service(node, "stop", "dockerd")
    cluster.must(node, f"rm -r {DATA}/containers/{n1}")
    if what == "is a mounted root and nothing else":  # dockerd was killed between a task's end and its unmount
        for state, socket in tasks.STATES:
            ask = f"ctr --address {socket} --namespace $(basename $(dirname $bundle))"
            bundle = f"bundle=$(echo {state}/io.containerd.runtime.v2.task/*/{n1})"
            ended = f"{ask} tasks delete --force {n1} && {ask} containers delete {n1}"
            cluster.must(node, f"{bundle}; [ ! -e $bundle ] || {{ {ended}; }}")
    cluster.service(node, "start", "dockerd")
    mounted = f"grep -cE '{roots}' /proc/mounts || true"
    if what == "has ended":
        cluster.must(node, f"kill -9 {pid}; while [ -e /proc/{pid} ]; do sleep 0.1; done")
    assert n1[:12] not in cluster.docker(node, "ps -a").out
    shim = cluster.sh(node, f"pgrep -f -- '[-]id {n1}'").status == 0
    assert shim is (what != "is a mounted root and nothing else")
    assert cluster.must(node, mounted).strip() == "2"
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    nothing_runs(cluster, node)
    assert cluster.must(node, mounted).strip() == "0"

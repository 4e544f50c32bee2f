# SPDX-License-Identifier: Apache-2.0
"""Promise 2: a job cannot start more processes than its limit, host side and containers together."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster, Job

BOMB = "f() { sleep 600 & f | f & }; f"  # its shells die where they cannot fork: sleeps are what it keeps
IN_CONTAINER = f"docker run -d --name bomb img sh -c '{BOMB}; sleep 600'; echo started; sleep 600"
IN_SCRIPT = f"echo started; ({BOMB}) 2>/dev/null; sleep 600"
SMALL = 256  # the figure of partition `small` in tests/labs/slurm-hooks.toml


def pids(cluster: Cluster, job: Job, file: str) -> str:
    """A file of the pids controller in the job's cgroup."""
    return f"/sys/fs/cgroup{'/pids' if cluster.version == 1 else ''}{job.cgroup}/pids.{file}"


def full(cluster: Cluster, job: Job) -> str:
    """A shell condition: the kernel has refused a fork in the job or a container of it (cgroup-v2.rst, pids.events)."""
    events = pids(cluster, job, "events")
    return f"grep -qs 'max [1-9]' {events} {events.replace('/pids.events', '/*/pids.events')}"


def reserve(cluster: Cluster) -> int:
    """What is added for slurmstepd's own threads where they count."""
    return 64 if cluster.version == 2 else 0


@pytest.mark.parametrize("script", [IN_CONTAINER, IN_SCRIPT], ids=["in a container", "in the job script"])
def test_a_fork_bomb_is_held_and_ends_with_the_job(cluster: Cluster, node: str, script: str) -> None:
    job = cluster.sbatch(script, options="-p small --mem=300")
    job.wait_for_output("started")
    limit = job.events("prolog")[0]["effective"]
    assert limit == SMALL + reserve(cluster)
    cluster.wait(node, full(cluster, job), "a bomb at its limit")
    assert int(cluster.must(node, f"cat {pids(cluster, job, 'current')}")) <= limit
    neighbour = cluster.srun("docker run --rm img echo well", user="bob", options="--mem=200")
    assert "well" in neighbour.out, neighbour
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_partition_has_its_own_figure(cluster: Cluster, node: str) -> None:
    why = cluster.run("true", options="-p small").events("prolog")[0]["why"]
    assert why.startswith(f"{SMALL} by partition small")


def test_all_jobs_together_leave_the_node_its_reserve(cluster: Cluster, node: str) -> None:
    most = min(map(int, cluster.must(node, "cat /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max").split()))
    with cluster.site(node, f"[node]\nreserve = {most - 300}"):
        bomb = cluster.sbatch(f"echo started; ({BOMB}) 2>/dev/null; sleep 600", options="--mem=200")
        bomb.wait_for_output("started")
        (prolog,) = bomb.events("prolog")
        root = prolog["cgroup"].rpartition("/job_")[0].partition("/uid_")[0]
        assert (prolog["effective"], f"held down to 300 by {root}" in prolog["why"]) == (300, True), prolog
        above = f"/sys/fs/cgroup{'/pids' if cluster.version == 1 else ''}{root}"
        cluster.wait(node, full(cluster, bomb), "a bomb at its limit")
        assert 200 < int(cluster.must(node, f"cat {above}/pids.current")) <= 300
        bomb.cancel()
        assert bomb.wait()["verdict"] == "clean"
    cluster.run("true")
    assert cluster.must(node, f"cat {above}/pids.max").strip() == str(most - 2048)


def test_a_container_may_ask_for_less_and_not_for_more(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm --pids-limit 2000 img true; docker run --rm --pids-limit 50 img echo less")
    assert "--pids-limit 2000: a container may have 1024 processes here. Ask for 1 to 1024." in done.err
    assert "less" in done.out


# A container that has filled itself, then one process more on the host side until another container cannot start.
FULL_JOB = """rm -f full
docker run -d -v $PWD:/w img sh -c 'i=0; while [ $i -lt 190 ]; do sleep 99 & i=$((i+1)); done; >/w/full; wait'
until [ -e full ]; do sleep 0.1; done; rm full
for i in $(seq 100); do docker run --rm img true || break; for j in 1 2 3 4; do sleep 99 & done; done
kill $(jobs -p)"""


def test_a_job_too_small_for_a_container_is_told_so_in_words(cluster: Cluster, node: str) -> None:
    done = cluster.srun(FULL_JOB, options="-p small --mem=600", timeout=240)
    assert "no room for a container's processes" in done.err, done


def test_slurms_own_threads_have_room_when_a_job_is_full(cluster: Cluster, node: str) -> None:
    # Without their reserve slurmstepd dies of a full job, and the node stays in "completing" for minutes.
    job = cluster.sbatch(f"docker run -d img sh -c '{BOMB}'; {IN_SCRIPT}", options="-p small --mem=500")
    job.wait_for_output("started")
    cluster.wait(node, full(cluster, job), "a full job")
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    assert "fatal" not in cluster.must(node, f"grep -F '[{job.id}.' /var/log/slurm/slurmd.log || true")


def test_the_number_of_containers_of_a_job_is_bounded(cluster: Cluster, node: str) -> None:
    done = cluster.srun("for i in $(seq 65); do docker create img true >/dev/null; done; docker ps -aq | wc -l")
    assert done.out.split()[-1] == "64", done
    assert "this job has 64 containers already. Remove some: docker rm." in done.err

# SPDX-License-Identifier: Apache-2.0
"""Promise 2: a job cannot start more processes than its limit, host side and containers together."""

from __future__ import annotations

import re

import pytest

from slurm_hooks.knobs import ulimits
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
    # Without its reserve slurmstepd dies of a full job, and the node stays in "completing" for minutes. A container and
    # a script that are both full may take it all the same (docs/security.md).
    assert "fatal" not in cluster.must(node, f"grep -F '[{job.id}.' /var/log/slurm/slurmd.log || true")


def test_a_partition_has_its_own_figure(cluster: Cluster, node: str) -> None:
    why = cluster.run("true", options="-p small").events("prolog")[0]["why"]
    assert why.startswith(f"{SMALL} by partition small")


def test_all_jobs_together_leave_the_node_its_reserve(cluster: Cluster, node: str) -> None:
    most = min(map(int, cluster.must(node, "cat /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max").split()))
    with cluster.site(node, f"[node]\nreserve = {most - 300}"):
        bomb = cluster.sbatch(f"echo started; ({BOMB}) 2>/dev/null; sleep 600", options="--mem=200")
        bomb.wait_for_output("started")
        (prolog,) = bomb.events("prolog")
        root = prolog["cgroup"].rpartition("/")[0].partition("/uid_")[0]
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


# A container that has filled itself, then some more on the host side until another container cannot start.
# None of them may end meanwhile, however slow the node is: the job would never be full, and the loop goes on. One at a
# time: the docker command has threads in the job too, and with a few more it is the one that finds no room.
FULL_JOB = """rm -f full
docker run -d -v $PWD:/w img sh -c 'i=0; while [ $i -lt 190 ]; do sleep 600 & i=$((i+1)); done; >/w/full; wait'
until [ -e full ]; do sleep 0.1; done; rm full
for i in $(seq 100); do docker run --rm img true || break; sleep 600 & done
kill $(jobs -p)"""


@pytest.mark.anywhere
def test_a_job_too_small_for_a_container_is_told_so_in_words(cluster: Cluster, node: str) -> None:
    done = cluster.srun(FULL_JOB, options="-p small --mem=600", timeout=240)
    assert "no room for a container's processes" in done.err, done


@pytest.mark.anywhere
def test_the_number_of_containers_of_a_job_is_bounded(cluster: Cluster, node: str) -> None:
    done = cluster.srun("for i in $(seq 65); do docker create img true >/dev/null; done; docker ps -aq | wc -l")
    assert done.out.split()[-1] == "64", done
    assert "this job has 64 containers already. Remove some: docker rm." in done.err


LIMITS = "cat /proc/self/limits"


def test_a_container_has_the_limits_of_the_process_that_asked(cluster: Cluster, node: str) -> None:
    done = cluster.srun(f"ulimit -n 777; {LIMITS}; echo; docker run --rm img {LIMITS}", options="--mem=300")
    ours, inside = (ulimits.parsed(text) for text in done.out.split("\n\n"))
    assert inside == ours | dict.fromkeys(("core", "nice", "rtprio"), (0, 0)), done
    assert inside["nofile"] == (777, 777)


def test_a_ulimit_may_be_less_and_not_more(cluster: Cluster, node: str) -> None:
    less = f"docker run --rm --ulimit nofile=50:60 --ulimit core=0 img {LIMITS}"
    more = "docker run --rm --ulimit nofile=51:61 img true; docker run --rm --ulimit rtprio=1 img true"
    done = cluster.srun(f"ulimit -n 60; {less}; {more}", options="--mem=300")
    assert ulimits.parsed(done.out)["nofile"] == (50, 60), done
    assert "--ulimit nofile=51:61: the job's own limit is 60. Ask for nofile=60 or less." in done.err
    assert "--ulimit rtprio=1:1: a job's container has no priority. Leave it out." in done.err


def held_to(cluster: Cluster, node: str) -> int:
    """Bytes of memory of a job that asked for 300m: Slurm's limit, or where it sets none all that the node has."""
    if cluster.sh(node, "grep -q ^ConstrainRAMSpace=no /etc/slurm/cgroup.conf").status:
        return 300 << 20
    return int(cluster.must(node, "awk '/^MemTotal:/ {print $2}' /proc/meminfo")) << 10


def test_shared_memory_is_the_jobs(cluster: Cluster, node: str) -> None:
    done = cluster.srun(
        "docker run --rm --shm-size 100m img df -m /dev/shm; docker run --rm --shm-size 9g img true; "
        "docker run --rm --shm-size 290m img dd if=/dev/zero of=/dev/shm/x bs=1M; echo exit $?",
        options="--mem=300",
    )
    assert re.search(r"^shm +100 ", done.out, re.MULTILINE), done
    held = held_to(cluster, node)
    size = "300m" if held == 300 << 20 else f"{held >> 10}k"
    assert f"--shm-size 9g: the job has {size} of memory. Ask for less." in done.err
    # Whom the kernel ends where a job is full of what is no process's it chooses by size: docker, too.
    assert "exit 137" in done.out or "No space left" in done.err or ": Out Of Memory\n" in done.err, done


def test_memory_and_cpu_of_a_container_are_filled_from_the_job(cluster: Cluster, node: str) -> None:
    show = "docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuShares}}'"
    done = cluster.srun(
        f"{show} $(docker create img) $(docker create --memory 64m img) $(docker create --memory 9g --cpus 1 img)",
        options="--mem=300",
    )
    job, less = held_to(cluster, node), 64 << 20
    assert done.out.splitlines()[-3:] == [f"{job} {job} 1024", f"{less} {less} 1024", f"{job} {job} 0"], done
    assert "WARNING" not in done.err


def test_a_container_has_the_processors_of_the_job(cluster: Cluster, node: str) -> None:
    if cluster.sh(node, "test -e /sys/fs/cgroup/cpuset || grep -w cpuset /sys/fs/cgroup/cgroup.controllers").status:
        pytest.skip("the kernel of this lab has no cpuset")
    spin = "timeout 1 sh -c 'while :; do :; done' &"
    allowed = "grep Cpus_allowed_list /proc/self/status"
    done = cluster.srun(f'{allowed}; docker run --rm img sh -c "{allowed}; {spin} {spin} wait; times"', options="-c1")
    outside, inside, _, children = done.out.splitlines()[-4:]
    assert inside == outside and re.search(r":\s+\d+$", inside), done
    # Two that spin for a second have one processor between them.
    assert sum(60 * int(m) + float(s) for m, s in re.findall(r"(\d+)m([\d.]+)s", children)) < 1.3, done


def test_a_container_does_not_swap_beyond_the_jobs_memory(cluster: Cluster, node: str) -> None:
    files = "/sys/fs/cgroup/memory.swap.max /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
    done = cluster.srun(f"docker run --rm img sh -c 'cat {files} 2>/dev/null; echo :'", options="--mem=300")
    *_, said, end = done.out.splitlines()
    if not said.isdigit():
        pytest.skip("the kernel of this lab does not account for swap")
    # On v2 it is what may be swapped, on v1 memory and swap together.
    assert end == ":" and said in ("0", str(300 << 20)), done

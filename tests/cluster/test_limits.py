# SPDX-License-Identifier: Apache-2.0
"""Promise 2: a job cannot start more processes than its limit, host side and containers together."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster, Job

BOMB = "f() { f | f & }; f"
IN_CONTAINER = f"docker run -d --name bomb --pids-limit 100 img sh -c '{BOMB}; sleep 600'; echo started; sleep 600"
IN_SCRIPT = f"echo started; ({BOMB}) 2>/dev/null; sleep 600"
SMALL = 256  # the figure of partition `small` in tests/labs/slurm-hooks.toml


def pids_file(cluster: Cluster, job: Job) -> str:
    return f"/sys/fs/cgroup{'/pids' if cluster.version == 1 else ''}{job.cgroup}/pids.current"


@pytest.mark.parametrize("script", [IN_CONTAINER, IN_SCRIPT], ids=["in a container", "in the job script"])
def test_a_fork_bomb_is_held_and_ends_with_the_job(cluster: Cluster, node: str, script: str) -> None:
    job = cluster.sbatch(script, options="-p small --mem=300")
    job.wait_for_output("started")
    limit = job.events("prolog")[0]["effective"]
    assert limit == SMALL + 64
    cluster.wait(node, f"[ $(cat {pids_file(cluster, job)}) -ge 90 ]", "a bomb that has grown")
    assert int(cluster.must(node, f"cat {pids_file(cluster, job)}")) <= limit
    neighbour = cluster.srun("docker run --rm img echo well", user="bob", options="--mem=200")
    assert "well" in neighbour.out, neighbour
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_partition_has_its_own_figure(cluster: Cluster, node: str) -> None:
    why = cluster.run("true", options="-p small").events("prolog")[0]["why"]
    assert why == f"{SMALL} by partition small + 64 for Slurm's own"


def test_a_container_may_ask_for_less_and_not_for_more(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm --pids-limit 2000 img true; docker run --rm --pids-limit 50 img echo less")
    assert "--pids-limit 2000: a container may have 1024 processes here. Ask for 1 to 1024." in done.err
    assert "less" in done.out


FULL_JOB = """
import os, subprocess, time
sleepers = []
try:
    while True:
        sleepers.append(subprocess.Popen(["sleep", "60"], stderr=subprocess.DEVNULL))
except OSError:
    pass
for one in sleepers[:ROOM]:  # room for a docker client, and not for what runc starts
    one.kill(); one.wait()
done = subprocess.run(["docker", "run", "--rm", "img", "true"], capture_output=True, text=True)
print(done.stderr)
for one in sleepers:
    one.kill(); one.wait()
"""


def test_a_job_too_small_for_a_container_is_told_so_in_words(cluster: Cluster, node: str) -> None:
    # How many threads a docker client has differs from run to run: some amount of room shows runc's own failure.
    said = ""
    for room in range(8, 20):
        script = FULL_JOB.replace("ROOM", str(room))
        done = cluster.srun(f"/usr/bin/python3 - <<'EOF'\n{script}\nEOF", options="-p small --mem=600")
        said += done.out
        if "no room for a container's processes" in said:
            break
    assert "no room for a container's processes" in said, said


def test_the_number_of_containers_of_a_job_is_bounded(cluster: Cluster, node: str) -> None:
    done = cluster.srun("for i in $(seq 65); do docker create img true >/dev/null; done; docker ps -aq | wc -l")
    assert done.out.split()[-1] == "64", done
    assert "this job has 64 containers already. Remove some: docker rm." in done.err

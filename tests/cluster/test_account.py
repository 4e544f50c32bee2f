# SPDX-License-Identifier: Apache-2.0
"""The account of a job's containers that its user finds at the end of the job's output."""

from __future__ import annotations

import re

import pytest

from tests.cluster.left import DOCKER
from tests.cluster.slurm import Cluster

# Each runs long enough to be read back: of one that has ended before that, only its exit status is known.
JOB = """docker run --rm --name fine img sleep 1
docker run --rm --name wrong img sh -c 'sleep 1; exit 3'
docker run --rm --name full --pids-limit 12 img sh -c 'sleep 1; for i in $(seq 13); do sleep 0.5 & done; wait'
docker run --rm --name memory img sh -c 'x=y; while :; do x=$x$x; done'"""


def test_a_batch_jobs_output_ends_with_it(cluster: Cluster, node: str) -> None:
    job = cluster.run(JOB, options="--mem=100")
    told = job.output.splitlines()[-5:]
    assert told[0] == f"slurm-hooks: job {job.id} ran 4 containers, 3 failed:", job.output
    fine = re.fullmatch(r"  fine \(img\): exit 0, \d+\.\d s, CPU \d+\.\d s, peak (\d+) MiB, (\d+) processes", told[1])
    assert fine and 1 <= int(fine[1]) <= 100 and 1 <= int(fine[2]) <= 12, told
    assert told[2].startswith("  wrong (img): exit 3, "), told
    assert "its limit of 12 processes was reached" in told[3], told
    assert told[4].startswith(
        "  memory (img): exit 137, processes ended for want of memory (the job's limit is 100 MiB)"
    ), told


@pytest.mark.anywhere
def test_a_step_that_is_no_batch_jobs_ends_with_its_own_on_standard_error(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm --name one img sh -c 'sleep 0.3; exit 3'; echo over", options="--mem=100")
    assert done.out.endswith("over\n")
    assert re.search(r"^slurm-hooks: job \d+ ran 1 container, 1 failed:\n  one \(img\): exit 3, ", done.err, re.M), done


@pytest.mark.anywhere
def test_steps_of_a_batch_job_leave_it_to_the_end(cluster: Cluster, node: str) -> None:
    job = cluster.run("srun docker run --rm --name one img true; echo after the step", options="--mem=100")
    lines = job.output.splitlines()
    assert lines.index("after the step") < lines.index(f"slurm-hooks: job {job.id} ran 1 container, none failed:"), (
        lines
    )


@pytest.mark.anywhere
def test_a_job_without_containers_is_told_nothing(cluster: Cluster, node: str) -> None:
    assert "ran" not in cluster.srun("echo quiet").err
    assert cluster.run("echo quiet").output.splitlines()[-1] == "quiet"


@pytest.mark.anywhere
def test_it_is_the_askers_own_jobs(cluster: Cluster, node: str) -> None:
    other = cluster.sbatch("docker run --rm --name secret img true; echo begun; exec sleep 600", options="--mem=100")
    other.wait_for_output("begun")
    mine = cluster.srun("docker run --rm --name mine img true", user="bob", options="--mem=100")
    assert "mine" in mine.err and "secret" not in mine.err, mine
    other.cancel()
    other.wait()


@pytest.mark.anywhere
def test_a_container_that_outlives_its_broker_is_accounted_for(cluster: Cluster, node: str) -> None:
    eats = "x=$(yes | head -c 30000000); touch /w/eaten; until [ -e /w/go ]; do sleep 0.1; done"
    home = cluster.must(node, "mktemp -d -p ~", user="ann").strip()
    job = cluster.sbatch(
        f"cd {home}; docker run -d --name m1 -v $PWD:/w img sh -c '{eats}'; until [ -e over ]; do sleep 0.1; done"
    )
    cluster.wait(node, f"test -e {home}/eaten", "a container with much memory")
    cluster.service(node, "restart", "broker")
    pid = cluster.docker(node, f"inspect --format '{{{{.State.Pid}}}}' slurm-{job.id}-0.m1").out.strip()
    cluster.wait(node, f"grep -qs '^Pid:.{pid}$' /proc/[0-9]*/fdinfo/*", "a pidfd of the next broker's")
    cluster.must(node, f"touch {home}/go")
    cluster.wait(node, f"slurm-hooks report --json {job.id} | grep -q '\"end\"'", "the container's end")
    cluster.must(node, f"touch {home}/over")
    assert job.wait()["verdict"] == "clean"
    (ended,) = job.events("end")
    assert ended["own"]["memory"] > 30_000_000, ended


def test_a_broker_that_comes_too_late_for_the_figures_knows_what_memory_was_wanting_for(
    cluster: Cluster, node: str
) -> None:
    eats = "until [ -e /w/go ]; do sleep 0.1; done; x=y; while :; do x=$x$x; done"
    home = cluster.must(node, "mktemp -d -p ~", user="ann").strip()
    job = cluster.sbatch(
        f"cd {home}; docker run -d --name calm img sleep 600; docker run -d --name memory -v $PWD:/w img sh -c '{eats}'"
        "; touch ready; docker wait memory; docker kill calm",
        options="--mem=100",
    )
    cluster.wait(node, f"test -e {home}/ready", "two containers")
    running = f"docker -H unix://{DOCKER} inspect --format '{{{{.State.Running}}}}' slurm-{job.id}-0.memory"
    broker = "-f 'slurm-hooks broker$'"
    cluster.must(node, f"pkill -STOP {broker}")
    try:
        cluster.must(node, f"touch {home}/go")
        cluster.wait(node, f'[ "$({running})" = false ]', "a container that is out of memory")
    finally:
        cluster.must(node, f"pkill -CONT {broker}")
    assert job.wait()["verdict"] == "clean"
    figures = {event["container"]: event["own"] for event in job.events("end")}
    assert figures["memory"] == {"oom": 1} and figures["calm"]["oom"] == 0, figures
    told = job.output.splitlines()[-2:]
    assert told[0].startswith(
        "  memory (img): exit 137, processes ended for want of memory (the job's limit is 100 MiB)"
    ), told
    assert told[1].startswith("  calm (img): exit 137 (signal 9)"), told

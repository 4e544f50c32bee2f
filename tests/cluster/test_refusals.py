# SPDX-License-Identifier: Apache-2.0
"""What is refused is refused with one line: the flag, the rule, what to do instead."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster
from tests.labs.base import Done

REFUSED = {
    "--privileged": "docker run --rm --privileged img id",
    "-v /etc": "docker run --rm -v /etc:/x img id",
    "-v /": "docker run --rm -v /:/x img id",
    "--pid=host": "docker run --rm --pid=host img id",
    "--network host": "docker run --rm --network host img id",
    "--cgroup-parent=/": "docker run --rm --cgroup-parent=/ img id",
    "--user 0": "docker run --rm --user 0 img id",
    "--cap-add SYS_ADMIN": "docker run --rm --cap-add SYS_ADMIN img id",
    "--security-opt seccomp": "docker run --rm --security-opt seccomp=unconfined img id",
    "--device": "docker run --rm --device /dev/null:/dev/x img id",
    "--restart always": "docker run -d --restart always img id",
    "docker build": "printf 'FROM img' | DOCKER_BUILDKIT=0 docker build -t x -",
    "docker pull": "docker pull debian",
    "docker cp": "docker create --name cp img; docker cp cp:/bin/sh .; docker rm cp",
    "docker network": "docker network create x",
    "docker volume": "docker volume create x",
    "docker exec --privileged": "docker run -d --name e0 img sleep 9; docker exec --privileged e0 id; docker rm -f e0",
    "docker exec --user 0": "docker run -d --name e0 img sleep 9; docker exec --user 0 e0 id; docker rm -f e0",
}


@pytest.fixture(scope="module")
def refusals(cluster: Cluster) -> dict[str, Done]:
    """Every command above, run in one job."""
    return cluster.srun_each(REFUSED)


@pytest.mark.parametrize("flag", REFUSED)
def test_it_names_the_flag_and_does_nothing(refusals: dict[str, Done], flag: str) -> None:
    done = refusals[flag]
    lines = [line for line in done.err.splitlines() if flag in line]
    assert len(lines) == 1, done
    said = lines[0].partition(flag)[2]
    assert ": " in said and ". " in said, f"no rule or no way round in: {said}"
    assert "uid=" not in done.out


def test_docker_run_exits_as_docker_does(cluster: Cluster, node: str) -> None:
    assert "exit 125" in cluster.srun("docker run --rm --privileged img id; echo exit $?").out


def test_a_refusal_is_in_the_jobs_report(cluster: Cluster, node: str) -> None:
    job = cluster.run("docker run --rm --privileged img id")
    assert job.events("refused")[0]["why"].startswith("--privileged: ")


def test_without_a_job_there_is_no_docker(cluster: Cluster, node: str) -> None:
    done = cluster.sh(node, "docker -H unix:///run/slurm-hooks/docker.sock ps", user="ann")
    assert "this process is in no job that slurm-hooks knows" in done.err
    assert done.status != 0


def test_the_jobs_dockerd_itself_is_out_of_reach(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker -H unix:///run/slurm-hooks-docker/docker.sock ps")
    assert "permission denied" in done.err.lower()


def test_a_path_that_the_user_cannot_open_is_refused(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm -v /home/bob/f:/x img true")
    assert "-v /home/bob/f: Permission denied. Only what you can reach yourself can be mounted." in done.err

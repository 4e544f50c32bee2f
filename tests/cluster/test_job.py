# SPDX-License-Identifier: Apache-2.0
"""A job that uses no container: what our hooks do to it, and that they leave nothing."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster


@pytest.mark.anywhere
def test_every_task_knows_where_its_docker_is(cluster: Cluster, node: str) -> None:
    uid = cluster.must(node, "id -u ann").strip()
    done = cluster.srun("echo host=$DOCKER_HOST", options="-n2 --overcommit")
    assert done.out.count(f"host=unix:///run/slurm-hooks/users/{uid}.sock\n") == 2, done


@pytest.mark.anywhere
def test_the_job_is_told_once_whatever_number_of_steps_it_runs(cluster: Cluster, node: str) -> None:
    job = cluster.run("srun true; srun true")
    assert job.output.count("slurm-hooks: docker runs in job") == 1


def test_pids_max_of_the_job_is_the_sites_figure_and_a_reserve_for_slurm(cluster: Cluster, node: str) -> None:
    # On v1 slurmstepd stays outside of our hierarchy, and needs none.
    reserve, words = (64, " + 64 for Slurm's own") if cluster.version == 2 else (0, "")
    job = cluster.run(READ_LIMIT)
    assert job.output.splitlines()[-1] == str(4096 + reserve)
    prolog = job.events("prolog")[0]
    assert prolog["pids"] == prolog["effective"] == 4096 + reserve
    assert prolog["why"] == f"4096 by the site's default{words}"


def test_every_process_of_the_job_lies_below_the_registered_cgroup(cluster: Cluster, node: str) -> None:
    job = cluster.run("cat /proc/self/cgroup; srun cat /proc/self/cgroup")
    lines = [line for line in job.output.splitlines() if PIDS_LINE[cluster.version] in line]
    assert len(lines) == 2
    assert all(job.cgroup in line for line in lines)


def test_its_epilog_finds_nothing_left(cluster: Cluster, node: str) -> None:
    job = cluster.run("true")
    assert job.events("epilog")[-1]["verdict"] == "clean"
    assert [event["event"] for event in job.events()] == ["prolog", "epilog"]


def test_many_short_jobs_leave_no_cgroup_and_an_idle_node(cluster: Cluster, node: str) -> None:
    jobs = [cluster.sbatch("true", options="-n1 --mem=100") for _ in range(8)]
    for job in jobs:
        assert job.wait()["verdict"] == "clean"


READ_LIMIT = r"""
line=$(grep -E ':pids:|^0::/.' /proc/self/cgroup | head -1)
path=${line#*:*:}
case $line in
  *:pids:*) cat "/sys/fs/cgroup/pids$path/pids.max" ;;
  *) cat "/sys/fs/cgroup$(echo "$path" | sed 's,/step_.*,,')/pids.max" ;;
esac
"""
PIDS_LINE = {1: ":pids:", 2: "0::/"}

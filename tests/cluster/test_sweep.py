# SPDX-License-Identifier: Apache-2.0
"""Jobs that are over and had no Epilog are ended by the sweep; nothing of a live one is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.cluster.test_identity import requeued

HOOK = "/etc/slurm/epilog.d/50-slurm-hooks"
SMALL = "-n1 --mem=200"
# As if each record were an hour older: nothing waits five minutes here.
AGED = r"""perl -i -pe 's/("opened": )([0-9.]+)/$1 . ($2 - 3600)/e' /run/slurm-hooks/jobs/*/job"""

# A slurmctld that nobody is, at a port where nobody listens; Slurm's own commands then wait for MessageTimeout.
NOBODY = r"""sed 's/^MessageTimeout=.*/MessageTimeout=1/; $aSlurmctldPort=1' /etc/slurm/slurm.conf > /run/nobody.conf"""


@contextmanager
def no_epilog(cluster: Cluster) -> Iterator[None]:
    """Jobs that end meanwhile are over for Slurm, and no Epilog of ours has been: as where slurmd was dead."""
    node = cluster.node
    cluster.must(node, f"cp -p {HOOK} {HOOK}.kept && mv {HOOK}.kept /run/ && printf '#!/bin/sh\\n' > {HOOK}")
    try:
        yield
    finally:
        cluster.must(node, f"cp -p /run/50-slurm-hooks.kept {HOOK}; rm /run/50-slurm-hooks.kept")


@pytest.fixture
def node(cluster: Cluster, node: str) -> Iterator[str]:
    """An idle node; what a failed test left is ended."""
    yield node
    cluster.cancel_all()
    cluster.wait_idle(node)
    cluster.sh(node, "slurm-hooks sweep --older-than 0")


def missed(cluster: Cluster, *jobs: Job) -> None:
    """Cancel jobs whose Epilog never comes."""
    with no_epilog(cluster):
        for job in jobs:
            job.cancel()
        for job in jobs:
            cluster.wait(cluster.lab.controller, f'[ -z "$(squeue -h -j {job.id} -o %A)" ]', f"the end of job {job.id}")


def sweep(cluster: Cluster, words: str = "", env: str = "") -> dict[int, dict[str, Any]]:
    """What the sweep says of each job."""
    done = cluster.sh(cluster.node, f"{env} slurm-hooks sweep --json {words}")
    said = json.loads(done.out)
    unclean = [run for run in said["runs"] if run["verdict"] not in ("", "clean")]
    assert done.status == int(bool(said["fault"] or unclean)), done
    return {run["job"]: run | {"fault": said["fault"]} for run in said["runs"]}


def containers(cluster: Cluster, job: Job, how: str = "-q") -> list[str]:
    """The job's containers, as dockerd lists them."""
    key = cluster.docker(cluster.node, "ps -a --format '{{.ID}} {{.Label \"slurm-hooks.job\"}} {{.State}}'").out
    found = [line.split() for line in key.splitlines() if line.split()[1].startswith(f"{job.id}-")]
    return [one[0] for one in found if how != "-q" or one[2] == "running"]


@pytest.mark.anywhere
def test_a_job_without_an_epilog_is_ended_and_a_live_one_is_not_touched(cluster: Cluster, node: str) -> None:
    live = cluster.sbatch(
        "docker run -d --name one img sleep 600; echo started; until [ -e go ]; do sleep 0.1; done; rm go; "
        "docker exec one echo it goes on; echo over",
        options=SMALL,
    )
    dead = cluster.sbatch(
        "docker run -d -v $HOME:/w img sleep 600; docker create img; echo started; sleep 600", options=SMALL
    )
    unrecorded = cluster.sbatch("docker run -d img sleep 600; echo started; sleep 600", options=SMALL)
    for job in (live, dead, unrecorded):
        job.wait_for_output("started")
    missed(cluster, dead, unrecorded)
    cluster.must(node, f"rm -r /run/slurm-hooks/jobs/{unrecorded.id}-*")

    young = sweep(cluster)
    assert {job: (run["action"], run["why"]) for job, run in young.items()} == dict.fromkeys(
        (live.id, dead.id, unrecorded.id), ("kept", "younger")
    )
    cluster.must(node, AGED)
    done = cluster.sh(
        node, f"{NOBODY}; SLURM_CONF=/run/nobody.conf slurm-hooks sweep; s=$?; rm /run/nobody.conf; exit $s"
    )
    assert done.status == 1 and "nothing more is touched: jobs of" in done.out, done
    assert [len(containers(cluster, job)) for job in (live, dead, unrecorded)] == [1, 1, 1]

    planned = sweep(cluster, "--dry-run --older-than 0")
    assert {job: run["action"] for job, run in planned.items()} == {
        live.id: "kept", dead.id: "over", unrecorded.id: "over"
    }  # fmt: skip
    assert planned[live.id]["why"].startswith("slurmstepd is there")
    assert [len(containers(cluster, job)) for job in (live, dead, unrecorded)] == [1, 1, 1]

    ended = sweep(cluster, "--older-than 0")
    assert [ended[job.id]["verdict"] for job in (dead, unrecorded)] == ["clean", "clean"], ended
    assert ended[live.id]["action"] == "kept"
    assert [len(containers(cluster, job, "-a")) for job in (live, dead, unrecorded)] == [1, 0, 0]
    assert cluster.drain_reason(node) == ""
    assert "no slurmstepd" in dead.events("sweep")[0]["why"]
    assert "2 jobs ended, 0 not clean" in cluster.must(node, "slurm-hooks report --node")
    cluster.must(node, "touch go", user="ann")
    live.wait_for_output("over")
    assert "it goes on" in live.output
    assert live.wait()["verdict"] == "clean"


@pytest.mark.anywhere
def test_what_the_sweep_cannot_end_is_only_told_of_where_the_site_says_so(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d img sleep 600; echo started; sleep 600")
    job.wait_for_output("started")
    missed(cluster, job)
    cluster.service(node, "stop", "dockerd")
    try:
        with cluster.site(node, '[epilog]\nsweep = "report"'):
            assert "dockerd" in sweep(cluster, "--older-than 0")[job.id]["verdict"]
        assert cluster.drain_reason(node) == ""
        assert f"job {job.id} (ann)" in cluster.sh(node, "slurm-hooks report --node").out
    finally:
        cluster.service(node, "start", "dockerd")
    assert sweep(cluster, "--older-than 0")[job.id]["verdict"] == "clean"


def test_the_timers_unit_ends_the_earlier_run_of_a_job_that_runs_again(cluster: Cluster, node: str) -> None:
    run = """docker run -d --name one img sleep 600; echo run ${SLURM_RESTART_COUNT:-0}
    until [ -e go ]; do sleep 0.1; done; rm go; docker ps --format '{{.Names}}'; echo over; sleep 600"""
    job = cluster.sbatch(run, options="--requeue")
    job.wait_for_output("run 0")
    with no_epilog(cluster):
        requeued(cluster, job)
        job.wait_for_output("run 1")
    assert len(containers(cluster, job)) == 2
    cluster.must(node, AGED)
    if cluster.has_systemd:
        cluster.must(node, "systemctl start slurm-hooks-sweep.service")
    else:
        cluster.must(node, "slurm-hooks sweep")
    assert len(containers(cluster, job, "-a")) == 1
    assert [event["restart"] for event in job.events("epilog")] == [0]
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert "one\nover" in job.output  # its own container runs, and so does its script
    job.cancel()
    job.wait()
    cluster.wait_idle(node)
    assert [event["verdict"] for event in job.events("epilog")] == ["clean", "clean"]


def test_what_a_reboot_left_in_dockerd_goes_and_what_is_not_a_jobs_stays(cluster: Cluster, node: str) -> None:
    # As dockerd has them after a reboot: exited, their key of another boot; made by hand, as no lab reboots in a test.
    scope = cluster.must(node, "cd /sys/fs/cgroup; find . -maxdepth 3 -name '*slurmstepd.scope' | head -n 1").strip()
    parent = f"{scope[1:]}/job_999999" if scope else "/slurm_cn1/uid_1001/job_999999"
    label = "--label slurm-hooks.job=999999-0-0badc0de"
    made = {
        "a job's": f"create {label} --user 1001:1001 --cgroup-parent {parent} img true",
        "another cgroup": f"create {label.replace('999999-0', '999998-0')} --user 1001:1001 img true",
        "no label": "create img true",
        "another label": "create --label slurm-hooks.job=mine img true",
    }
    ids = {name: cluster.docker(node, words).out.strip() for name, words in made.items()}
    try:
        found = sweep(cluster, "--older-than 0")
        assert (found[999999]["action"], found[999999]["verdict"]) == ("swept", "clean")
        assert "of another boot" in found[999999]["why"]
        assert found[999998]["action"] == "kept" and "no cgroup of a job" in found[999998]["why"]
        left = cluster.docker(node, "ps -aq --no-trunc").out.split()
        assert {name for name, one in ids.items() if one in left} == {*made} - {"a job's"}
    finally:
        cluster.docker(node, f"rm -f {' '.join(ids.values())}")


def test_the_timer_is_well(cluster: Cluster) -> None:
    if not cluster.has_systemd:
        pytest.skip("no systemd in a node of this lab")
    cluster.must(cluster.node, "systemd-analyze verify --man=no slurm-hooks-sweep.timer slurm-hooks-sweep.service")

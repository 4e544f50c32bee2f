# SPDX-License-Identifier: Apache-2.0
"""A node reboots with jobs running: dockerd keeps their containers, Slurm the jobs, and records may be there or not."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.cluster.test_identity import requeued
from tests.cluster.test_sweep import containers, sweep
from tests.labs.base import LabMissing

SMALL = "-n1 --mem=200"
RUN = """docker run -d -v $HOME:/w img sleep 600; docker create img; echo run ${SLURM_RESTART_COUNT:-0}
until [ -e go ]; do sleep 0.1; done; rm go; docker ps -q | wc -l; echo over; sleep 600"""


def saved(cluster: Cluster, job: Job) -> None:
    """Until slurmctld has a job, as it is now, in its file: where it dies with the node, it knows no more than that."""
    said = f"saved-{job.id}"
    cluster.must(cluster.lab.controller, f"scontrol update jobid={job.id} comment={said}")
    cluster.wait(cluster.lab.controller, f"grep -q {said} /var/lib/slurm/slurmctld/job_state", "slurmctld's file")


@pytest.mark.long
@pytest.mark.timeout(400)
def test_what_runs_before_and_after_a_reboot_is_told_apart(cluster: Cluster, node: str) -> None:
    again, gone = (cluster.sbatch(RUN, options=f"--requeue {SMALL}") for _ in range(2))
    for job in (again, gone):
        job.wait_for_output("run 0")
        saved(cluster, job)
    # /run is emptied by the boot; where a site keeps it, the records come back with it.
    cluster.must(node, f"cp -a /run/slurm-hooks/jobs/{again.id}-0-* /var/tmp/")
    try:
        cluster.lab.reboot()
    except LabMissing as error:
        again.cancel()
        gone.cancel()
        pytest.skip(str(error))
    cluster.must(node, "mkdir -p -m 700 /run/slurm-hooks/jobs; mv /var/tmp/*-0-* /run/slurm-hooks/jobs/")
    assert [len(containers(cluster, job)) for job in (again, gone)] == [0, 0]  # nothing runs
    assert [len(containers(cluster, job, "-a")) for job in (again, gone)] == [2, 2]  # dockerd has them all the same

    found = sweep(cluster, "--older-than 0")  # slurmctld takes both for running yet
    assert {job: run["action"] for job, run in found.items()} == {again.id: "kept", gone.id: "kept"}
    gone.cancel()
    requeued(cluster, again)
    again.wait_for_output("run 1")
    cluster.wait(cluster.lab.controller, f'[ -z "$(squeue -h -j {gone.id})" ]', f"the end of job {gone.id}")
    sweep(cluster, "--older-than 0")
    assert [len(containers(cluster, job, "-a")) for job in (again, gone)] == [2, 0]  # those of the second run
    cluster.must(node, "touch go", user="ann")
    again.wait_for_output("over")
    assert "\n1\nover" in again.output  # its container runs, and so does its script
    again.cancel()
    again.wait()

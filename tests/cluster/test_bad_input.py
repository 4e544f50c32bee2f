# SPDX-License-Identifier: Apache-2.0
"""What is wrong is said in one line; containers stay off, and jobs go on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import CONFIG, Cluster

pytestmark = pytest.mark.anywhere

GOOD = {
    "SLURM_JOB_UID": "1001",
    "SLURM_JOB_GID": "1001",
    "SLURM_JOB_USER": "ann",
    "SLURM_JOB_PARTITION": "main",
    "SLURM_JOB_RESTART_COUNT": "0",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
}
BAD: dict[str, dict[str, str | None]] = {
    "job id not a number": {"SLURM_JOB_ID": "12; reboot"},
    "job id empty": {"SLURM_JOB_ID": ""},
    "job id missing": {"SLURM_JOB_ID": None},
    "job id huge": {"SLURM_JOB_ID": "9" * 100_000},
    "uid not a number": {"SLURM_JOB_UID": "root"},
    "node name a path": {"SLURMD_NODENAME": "../../../tmp"},
    "node name missing": {"SLURMD_NODENAME": None},
    "partition with quotes": {"SLURM_JOB_PARTITION": "a'\"$(reboot)"},
    "user with a newline": {"SLURM_JOB_USER": "ann\nroot"},
    "restart count negative": {"SLURM_JOB_RESTART_COUNT": "-1"},
}
HARMLESS: dict[str, dict[str, str | None]] = {
    "uid of nobody": {"SLURM_JOB_UID": "65534", "SLURM_JOB_GID": "65534", "SLURM_JOB_USER": "nobody"},
    "a user without a passwd entry": {"SLURM_JOB_UID": "4242", "SLURM_JOB_USER": None},
    "a comment with newlines": {"SLURM_JOB_COMMENT": "one\ntwo\n'three'", "SPANK_X": "$(reboot)"},
    "a hundred kilobytes of comment": {"SLURM_JOB_COMMENT": "x" * 100_000},
}
RUN_HOOK = """
import os, subprocess, sys
environ = {environ!r}
for hook in ("prolog", "epilog"):
    done = subprocess.run([f"/etc/slurm/{{hook}}.d/50-slurm-hooks"], env=environ, capture_output=True, text=True)
    print(hook, done.returncode, "Traceback" in done.stderr + done.stdout, len(done.stderr.splitlines()))
"""


def hooks(cluster: Cluster, node: str, changes: dict[str, str | None]) -> list[str]:
    """Prolog, then Epilog: `prolog STATUS TRACEBACK LINES-ON-STDERR`."""
    fresh = {"SLURMD_NODENAME": node, "SLURM_JOB_ID": str(900_000_000 + uuid.uuid4().int % 10_000_000)}
    environ = {name: value for name, value in (GOOD | fresh | changes).items() if value is not None}
    return cluster.must(node, "/usr/bin/python3 -I -", stdin=RUN_HOOK.format(environ=environ)).splitlines()


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_a_hook_called_with_rubbish_says_one_line_and_fails_no_job(
    cluster: Cluster, node: str, changes: dict[str, str | None]
) -> None:
    assert hooks(cluster, node, changes) == ["prolog 0 False 1", "epilog 0 False 1"]


@pytest.mark.parametrize("changes", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_looks_odd_and_is_not_wrong_is_served(cluster: Cluster, node: str, changes: dict[str, str | None]) -> None:
    assert hooks(cluster, node, changes) == ["prolog 0 False 0", "epilog 0 False 0"]


def test_an_epilog_that_slurm_runs_as_the_user_leaves_the_job_to_the_sweep(cluster: Cluster, node: str) -> None:
    """Slurm 24.11 to 25.11 with PrologFlags=RunInJob, now and then."""
    hook = f"SLURM_JOB_ID=900000001 SLURMD_NODENAME={node} /etc/slurm/epilog.d/50-slurm-hooks"
    done = cluster.sh(node, hook, user="ann")
    said = done.err.splitlines()[-1]
    assert done.status == 0 and "Slurm runs the Epilog of job 900000001 as uid 1001" in said, done


@pytest.fixture
def restored(cluster: Cluster, node: str) -> Iterator[None]:
    """The node's configuration, put back after the test."""
    cluster.must(node, f"cp -p {CONFIG} /tmp/kept.toml")
    yield
    cluster.must(node, f"cp -p /tmp/kept.toml {CONFIG}; slurm-hooks config >/dev/null")


BROKEN = {
    "unknown key": ("[job]\npid = 5", "pid"),
    "wrong type": ("[job]\npids = 'many'", "$.job.pids"),
    "out of bounds": ("[job]\npids = 1", "$.job.pids"),
    "not TOML": ("[job\npids = 5", "line 1"),
}


@pytest.mark.parametrize(("text", "named"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.usefixtures("restored")
def test_a_broken_configuration_closes_containers_and_lets_jobs_run(
    cluster: Cluster, node: str, text: str, named: str
) -> None:
    cluster.must(node, f"cat > {CONFIG}", stdin=text)
    said = cluster.sh(node, "slurm-hooks config")
    assert said.status == 1 and CONFIG in said.err and named in said.err, said
    done = cluster.srun("echo the job runs; docker run --rm img id")
    assert "the job runs" in done.out and "uid=" not in done.out, done


@pytest.mark.usefixtures("restored")
def test_the_limits_of_the_last_good_configuration_hold(cluster: Cluster, node: str) -> None:
    cluster.must(node, f"cat > {CONFIG}", stdin="[job\n")
    job = cluster.sbatch("echo started; sleep 600", options="-p small")
    try:
        job.wait_for_output("started")
        assert "containers are off on this node: " + CONFIG in job.output
        limits = cluster.must(node, f"find /sys/fs/cgroup -path '*/job_{job.id}/pids.max' | xargs cat").split()
        assert limits == [str(256 + (64 if cluster.version == 2 else 0))]
    finally:
        job.cancel()
        job.wait()


@pytest.mark.usefixtures("restored")
def test_a_configuration_that_others_may_write_is_not_obeyed(cluster: Cluster, node: str) -> None:
    cluster.must(node, f"chmod 666 {CONFIG}")
    said = cluster.sh(node, "slurm-hooks config")
    assert "others than root may write to it" in said.err and "chmod go-w" in said.err
    assert "uid=" not in cluster.srun("docker run --rm img id").out


def test_without_dockerd_a_job_runs_and_docker_says_why(cluster: Cluster, node: str) -> None:
    cluster.service(node, "stop", "dockerd")
    try:
        done = cluster.srun("echo the job runs; docker run --rm img id")
    finally:
        cluster.service(node, "start", "dockerd")
    assert "the job runs" in done.out
    assert "docker on this node: dockerd does not answer" in done.err
    assert "uid=" in cluster.srun("docker run --rm img id").out


def test_without_a_broker_a_job_runs_and_is_told(cluster: Cluster, node: str) -> None:
    cluster.service(node, "stop", "broker")
    try:
        done = cluster.srun("echo the job runs; docker ps")
    finally:
        cluster.service(node, "start", "broker")
    assert "the job runs" in done.out
    assert "slurm-hooks: no containers in this job: the broker does not answer" in done.out


RUN_DIRECTORY = {
    "missing": ("mv /run/slurm-hooks /run/kept", "rm -rf /run/slurm-hooks; mv /run/kept /run/slurm-hooks"),
    "full": (
        "mount -t tmpfs -o size=4k tmpfs /run/slurm-hooks; head -c 8k /dev/zero > /run/slurm-hooks/x || :",
        "umount /run/slurm-hooks",
    ),
    "read-only": ("mount -t tmpfs -o ro tmpfs /run/slurm-hooks", "umount /run/slurm-hooks"),
}


@pytest.mark.parametrize(("breaks", "mends"), RUN_DIRECTORY.values(), ids=RUN_DIRECTORY.keys())
def test_without_a_run_directory_jobs_run_and_no_container_starts(
    cluster: Cluster, node: str, breaks: str, mends: str
) -> None:
    cluster.service(node, "stop", "broker")
    cluster.must(node, breaks)
    try:
        done = cluster.srun("echo the job runs; docker run --rm img id")
        cluster.wait_idle(node)
    finally:
        cluster.must(node, mends)
        cluster.service(node, "start", "broker")
    assert "the job runs" in done.out and "uid=" not in done.out, done
    assert cluster.drain_reason(node) == ""
    assert "uid=" in cluster.srun("docker run --rm img id").out


def test_a_damaged_record_closes_the_jobs_docker_and_its_epilog_cleans_all_the_same(
    cluster: Cluster, node: str
) -> None:
    script = (
        "docker run -d img sleep 600; echo started; until [ -e go ]; do sleep 0.1; done; rm go; docker ps; echo over"
    )
    job = cluster.sbatch(f"{script}; sleep 600")
    job.wait_for_output("started")
    cluster.must(node, f"echo rubbish > $(echo /run/slurm-hooks/jobs/{job.id}-*/job)")
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert "CONTAINER ID" not in job.output
    job.cancel()
    assert job.wait()["verdict"] == "clean"

# SPDX-License-Identifier: Apache-2.0
"""Ways to be taken for another: a setuid program, an adopted process, the broker's socket in a container."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.cluster.test_identity import ASK, asked_from, job

__all__ = ["job"]

SUID = "/usr/local/bin/lab-setuid-python"


@pytest.mark.parametrize("before", ["pass", "os.seteuid(os.getuid())"], ids=["as root", "as the user again"])
def test_a_setuid_program_in_the_job_is_refused(cluster: Cluster, node: str, before: str) -> None:
    cluster.must(node, f"install -m 4755 $(readlink -f /usr/bin/python3) {SUID}")
    try:
        done = cluster.srun(f"{SUID} -I - <<'END'\n{ASK}\n{before}\nask(connected())\nEND")
    finally:
        cluster.must(node, f"rm {SUID}")
    assert "403 " in done.out and "is of uid 1001, and this process is not" in done.out, done


def test_an_adopted_process_is_its_jobs(cluster: Cluster, job: Job) -> None:
    # The extern step's own sleep lies where pam_slurm_adopt puts a process; its slurmstepd, on v1, does not.
    sleeps = "for pid in $(pgrep -fx 'sleep 100000000'); do "
    extern = f"$({sleeps} grep -q {job.cgroup}/ /proc/$pid/cgroup && echo $pid; done)"
    if cluster.release >= (26, 5):  # it has no such sleep, and makes the cgroup when a process comes
        special = f"/sys/fs/cgroup{job.cgroup}/step_extern/user/task_special"
        extern = f"$(mkdir -p {special}; sleep 60 >/dev/null & echo $! > {special}/cgroup.procs; echo $!)"
    assert asked_from(cluster, extern, "ann") == "200 ['/inner']\n"


@pytest.mark.parametrize(
    "source",
    [
        "/run/slurm-hooks/docker.sock",
        "/run/slurm-hooks/users/1001.sock",
        "/run/slurm-hooks/users",
        "/run/slurm-hooks",
        "/run",
        "/var/run",
    ],
)
def test_the_brokers_socket_comes_into_no_container(cluster: Cluster, node: str, source: str) -> None:
    done = cluster.srun(f"docker run --rm -v {source}:/s img ls /s")
    assert done.status == 125 and f"-v {source}: " in done.err, done

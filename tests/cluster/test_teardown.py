# SPDX-License-Identifier: Apache-2.0
"""Promise 3: after the Epilog's 0 nothing of the job is left; otherwise the node drains, and the reason says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job

THREE = """for i in 1 2 3; do docker run -d --name n$i -v $HOME:/w img sleep 600; done
docker run -i --rm img cat < <(sleep 600) &
docker create img; echo started; sleep 600"""


def test_scancel_with_containers_running_leaves_nothing(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(THREE)
    job.wait_for_output("started")
    assert len(cluster.docker(node, "ps -q --filter label=slurm-hooks.job").out.split()) >= 3
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_a_job_that_ends_by_itself_takes_its_containers_along(cluster: Cluster, node: str) -> None:
    job = cluster.run("docker run -d img sleep 600; docker run -d --init img sh -c 'trap : TERM; sleep 600'")
    assert job.events("epilog")[-1]["verdict"] == "clean"


def test_what_is_asked_for_after_each_test_is_seen_while_it_is_there(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d -v $HOME:/w img sleep 600; echo begun; sleep 600")
    job.wait_for_output("begun")
    seen = cluster.left_on(node)
    job.cancel()
    job.wait()
    assert {line.split()[0] for line in seen} == {"container", "shim", "mount", "stage", "cgroup"}, seen


def test_a_paused_container_is_ended_too(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d --name frozen img sleep 600; docker pause frozen; echo started; sleep 600")
    job.wait_for_output("started")
    assert "Paused" in cluster.docker(node, "ps --filter label=slurm-hooks.job").out
    job.cancel()
    assert job.wait()["verdict"] == "clean"


KILL_A_LEADER = """/usr/bin/python3 -I - <<'EOF'
import os, sys
sys.path.insert(0, "/usr/lib/slurm-hooks")
from slurm_hooks import linux
end, hold = os.pipe()
leader = os.fork()
if not leader:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(hold)
    os.read(end, 1)
    os._exit(0)
os.waitpid(leader, 0)
linux.kill_where(leader, lambda: 1 / 0)
EOF"""


def test_a_process_is_gone_while_its_group_is_not(cluster: Cluster, node: str) -> None:
    """Linux before 6.16 says EINVAL of its number then, as it did of one that ended while an Epilog killed it."""
    cluster.must(node, KILL_A_LEADER)


@pytest.mark.anywhere
def test_runs_that_are_over_do_not_pile_up_in_a_job(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("for i in $(seq 12); do docker run --rm -v $HOME:/w img true; done; echo done; sleep 600")
    job.wait_for_output("done", within=180)
    cluster.wait(node, f'[ -z "$(ls /run/slurm-hooks/jobs/{job.id}-*/containers)" ]', "no note of ended containers")
    assert cluster.sh(node, "grep -c slurm-hooks/stage /proc/self/mountinfo").out.strip() == "0"
    job.cancel()
    job.wait()


TRAP = """docker run -d -v $PWD:/w img sh -c 'trap "sleep 1; echo saved > /w/state; exit" TERM
echo > /w/ready; while :; do sleep 0.1; done'
until [ -e ready ]; do sleep 0.1; done; rm ready; echo started; sleep 600"""


@pytest.mark.anywhere
@pytest.mark.parametrize(("grace", "saved"), [(0, False), (20, True)])
def test_the_sites_grace_lets_a_container_end_by_itself(
    cluster: Cluster, node: str, grace: int, *, saved: bool
) -> None:
    with cluster.site(node, f"[container]\ngrace_seconds = {grace}"):
        job = cluster.sbatch(TRAP)
        job.wait_for_output("started")
        job.cancel()
        epilog = job.wait()
    assert epilog["verdict"] == "clean" and epilog["seconds"] < 15, epilog  # no longer than it takes
    assert (cluster.sh(node, "rm state", user="ann").status == 0) is saved


@pytest.mark.anywhere
def test_a_foreign_container_beside_is_not_touched(cluster: Cluster, node: str) -> None:
    foreign = cluster.docker(node, "run -d --network none img sleep 600").out.strip()
    try:
        cluster.run("docker run -d img sleep 600")
        assert cluster.docker(node, f"inspect -f '{{{{.State.Running}}}}' {foreign}").out.strip() == "true"
    finally:
        cluster.docker(node, f"rm -f {foreign}")


def epilog_hook(job: Job) -> str:
    """The Epilog's command line with the environment that slurmd would give it."""
    return (
        f"env -i SLURM_JOB_ID={job.id} SLURM_JOB_UID=1001 SLURM_JOB_GID=1001 SLURM_JOB_USER={job.user} "
        f"SLURMD_NODENAME={job.node} SLURM_JOB_PARTITION=main SLURM_JOB_RESTART_COUNT=0 "
        "/etc/slurm/epilog.d/50-slurm-hooks"
    )


def test_a_second_epilog_gives_the_same_verdict(cluster: Cluster, node: str) -> None:
    job = cluster.run("docker run -d img sleep 600")
    again = cluster.sh(node, epilog_hook(job))
    assert (again.status, "nothing left" in again.out) == (0, True), again


@pytest.mark.anywhere
def test_an_epilog_without_a_prolog_before_it_is_content(cluster: Cluster, node: str) -> None:
    done = cluster.sh(node, epilog_hook(Job(cluster, 999_999, node, "ann")))
    assert done.status == 0, done


@pytest.mark.anywhere
def test_an_epilog_whose_program_is_gone_promises_nothing_for_a_job_with_containers(
    cluster: Cluster, node: str
) -> None:
    job = cluster.sbatch("docker run -d img sleep 600; echo begun; sleep 600")
    job.wait_for_output("begun")
    cluster.must(node, "mv /usr/lib/slurm-hooks/slurm_hooks /usr/lib/slurm-hooks/away")
    try:
        with_containers = cluster.sh(node, epilog_hook(job))
        without = cluster.sh(node, epilog_hook(Job(cluster, 999_999, node, "ann")))
    finally:
        cluster.must(node, "mv /usr/lib/slurm-hooks/away /usr/lib/slurm-hooks/slurm_hooks")
    assert with_containers.status == 1 and "slurm_hooks is gone" in with_containers.err, with_containers
    assert without.status == 0, without
    job.cancel()
    assert job.wait()["verdict"] == "clean"


def test_two_epilogs_at_once_agree(cluster: Cluster, node: str) -> None:
    if "RunInJob" in cluster.must(node, "grep ^PrologFlags= /etc/slurm/slurm.conf || true"):
        pytest.skip("with RunInJob it is a slurmstepd of the job that runs an Epilog: one from outside ends that too")
    job = cluster.sbatch("docker run -d img sleep 600; echo started; sleep 600")
    job.wait_for_output("started")
    job.cancel()
    hook = epilog_hook(job)
    done = cluster.sh(node, f"{hook} & a=$!; {hook} & b=$!; wait $a; x=$?; wait $b; echo $x $?")
    assert done.out.split()[-2:] == ["0", "0"], done
    assert {event["verdict"] for event in job.events("epilog")} <= {"clean"}
    job.wait()


def test_no_container_starts_in_a_job_that_is_closing(cluster: Cluster, node: str) -> None:
    script = "echo started; until [ -e go ]; do sleep 0.1; done; docker run --rm img true; rm go; echo over; sleep 60"
    job = cluster.sbatch(script)
    job.wait_for_output("started")
    cluster.must(node, f'sed -i \'s/"state": "open"/"state": "closing"/\' /run/slurm-hooks/jobs/{job.id}-*/job')
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert "this job is ending: no container starts in it any more" in job.output
    job.cancel()
    job.wait()


HUNG = "/usr/bin/python3 /src/tests/labs/hung_fs.py /mnt/hung"


@pytest.fixture
def hung_file_system(cluster: Cluster) -> Iterator[str]:
    """A file system whose server took a request and never answers, as NFS does when its server is away."""
    cluster.must(cluster.node, f"{HUNG} --daemon")
    yield "/mnt/hung"
    cluster.must(cluster.node, f"{HUNG} --stop")
    if cluster.drain_reason(cluster.node):  # a test that failed on the way is not to fail the others
        cluster.sh(
            cluster.node, "for job in $(ls /run/slurm-hooks/jobs | cut -d- -f1); do slurm-hooks epilog $job; done"
        )
        cluster.resume(cluster.node)


def test_what_cannot_be_ended_drains_the_node_and_is_named(cluster: Cluster, node: str, hung_file_system: str) -> None:
    job = cluster.sbatch(f"docker run -d -v {hung_file_system}:/data img cat /data/stuck; echo started; sleep 600")
    job.wait_for_output("started")
    job.cancel()
    verdict = job.wait()["verdict"]
    assert f"job {job.id} (ann) left pid" in verdict and "cat, state D" in verdict
    cluster.wait(cluster.lab.controller, f"sinfo -h -n {node} -o %T | grep -q drain", "the node drained")
    assert f"job {job.id} (ann) left pid" in cluster.drain_reason(node)
    held = cluster.sh(node, "slurm-hooks report --node")
    assert held.status == 1 and f"job {job.id} (ann)" in held.out and "cat, state D" in held.out, held
    assert f"  next: slurm-hooks epilog {job.id}" in held.out.splitlines(), held
    cluster.must(node, f"{HUNG} --stop")
    again = cluster.sh(node, f"slurm-hooks epilog {job.id}")
    assert again.status == 0, again
    assert again.out.splitlines()[-1].endswith(f": scontrol update nodename={node} state=resume"), again
    assert "no job that is over holds this node" in cluster.must(node, "slurm-hooks report --node")
    cluster.resume(node)


@pytest.mark.anywhere
def test_a_second_epilog_waits_for_the_first_and_gives_its_verdict(
    cluster: Cluster, node: str, hung_file_system: str
) -> None:
    job = cluster.sbatch(f"docker run -d -v {hung_file_system}:/data img cat /data/stuck; echo started; sleep 600")
    job.wait_for_output("started")
    hook = epilog_hook(job)
    done = cluster.sh(node, f"{hook} & a=$!; {hook} & b=$!; wait $a; x=$?; wait $b; echo $x $?", timeout=90)
    assert done.out.split()[-2:] == ["1", "1"], done
    first, second = job.events("epilog")[:2]
    assert first["verdict"] == second["verdict"] and len(job.events("left")) == len({*map(str, job.events("left"))})
    cluster.must(node, f"{HUNG} --stop")
    job.cancel()
    cluster.wait(cluster.lab.controller, f'[ -z "$(squeue -h -j {job.id})" ]', "its end")
    assert cluster.sh(node, f"slurm-hooks epilog {job.id}").status == 0
    cluster.resume(node)

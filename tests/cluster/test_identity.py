# SPDX-License-Identifier: Apache-2.0
"""Who asks is what the kernel says of the process that connected: its cgroup, its uid, and that it is alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job

# `ask` sends a request on a connected socket: its status and its body. In each script below.
ASK = """import array, http.client, json, os, socket, sys, time
SOCKET = "/run/slurm-hooks/docker.sock"
def connected(path=SOCKET):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one
def ask(one, what="GET /containers/json?all=1"):
    one.sendall((what + " HTTP/1.1\\r\\nHost: docker\\r\\nContent-Length: 0\\r\\n\\r\\n").encode())
    answer = http.client.HTTPResponse(one)
    answer.begin()
    text = answer.read().decode()
    names = [c["Names"][0] for c in json.loads(text)] if answer.status == 200 else text
    print(answer.status, names, flush=True)
"""
IN_NO_JOB = "this process is in no job that slurm-hooks knows"


def python(script: str) -> str:
    """Shell that runs a script with `ask` at hand."""
    return f"/usr/bin/python3 -I - <<'END'\n{ASK}\n{script}\nEND"


@pytest.fixture(autouse=True)
def over(cluster: Cluster) -> Iterator[None]:
    """What a failed test left running ends."""
    yield
    cluster.cancel_all()


@pytest.fixture
def job(cluster: Cluster, node: str) -> Iterator[Job]:
    """Ann's job with a container `inner` and a sleep of its own."""
    one = cluster.sbatch("docker run -d --name inner img sleep 600; echo begun; exec sleep 4242", options="--mem=200")
    one.wait_for_output("begun")
    cluster.wait(node, "pgrep -u ann -fx 'sleep 4242'", "the job's own sleep")
    yield one
    one.cancel()
    one.wait()


def asked_from(cluster: Cluster, beside: str, user: str, script: str = "ask(connected())") -> str:
    """What a process hears that root moves into the cgroups of the process `beside` (a shell's word) as `user`."""
    move = f"""pid={beside}; while IFS=: read -r number names path; do
    names=${{names#name=}}; echo $$ > /sys/fs/cgroup/$names$path/cgroup.procs; done 2>/dev/null < /proc/$pid/cgroup
    exec setpriv --reuid={user} --regid={user} --init-groups /usr/bin/python3 -I /run/lab-ask.py"""
    cluster.must(cluster.node, "cat > /run/lab-ask.py", stdin=f"{ASK}\n{script}\n")
    try:
        return cluster.must(cluster.node, move)
    finally:
        cluster.must(cluster.node, "rm /run/lab-ask.py")


OWN = "$(pgrep -u ann -fx 'sleep 4242')"
INNER = "$(pgrep -u ann -fx 'sleep 600')"


def test_a_process_of_the_user_in_the_job_is_served_however_it_came_there(cluster: Cluster, job: Job) -> None:
    assert asked_from(cluster, OWN, "ann") == "200 ['/inner']\n"


@pytest.mark.parametrize("user", ["bob", "root"])
def test_another_user_in_the_jobs_cgroup_is_refused(cluster: Cluster, job: Job, user: str) -> None:
    said = asked_from(cluster, OWN, user)
    assert said.startswith("403 ") and f"job {job.id} is of uid 1001, and this process is not" in said


def test_a_process_in_the_containers_cgroup_is_refused(cluster: Cluster, job: Job) -> None:
    said = asked_from(cluster, INNER, "ann")
    assert said.startswith("403 ") and IN_NO_JOB in said


@pytest.mark.parametrize("user", ["ann", "bob"])
def test_nobody_outside_a_job_is_served(cluster: Cluster, job: Job, user: str) -> None:
    said = cluster.must(job.node, python("ask(connected())"), user=user)
    assert said.startswith("403 ") and IN_NO_JOB in said


def test_a_process_that_left_its_job_is_refused_on_the_connection_that_it_had(cluster: Cluster, node: str) -> None:
    script = python(
        """one = connected(); ask(one); print("before", os.getpid(), flush=True)
while not os.path.exists("moved"): time.sleep(0.05)
ask(one)"""
    )
    job = cluster.sbatch(f"rm -f moved\n{script}\nrm moved")
    job.wait_for_output("before")
    pid = job.output.split("before ")[1].split()[0]
    procs = (
        "/sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs"  # on v1 the first is none, and must not become one
    )
    move = f"for procs in {procs}; do [ ! -e $procs ] || echo {pid} > $procs; done"
    cluster.sh(node, f"{move} 2>/dev/null")
    assert f"{job.cgroup}/" not in cluster.must(node, f"cat /proc/{pid}/cgroup")
    cluster.must(node, "touch moved", user="ann")
    cluster.wait(node, "[ ! -e /home/ann/moved ]", "the second answer")
    assert "200 []" in job.output and "403 " in job.output.split("before")[1] and IN_NO_JOB in job.output, job.output
    job.wait()


def test_a_socket_that_was_handed_on_stays_its_connectors(cluster: Cluster, node: str) -> None:
    giver = python(
        """one, door = connected(), socket.socket(socket.AF_UNIX)
door.bind("door"); door.listen(); client, _ = door.accept()
client.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))])
client.recv(1)"""
    )
    taker = python(
        """client = connected("door")
_, fds, _, _ = socket.recv_fds(client, 1, 1)
one = socket.socket(fileno=fds[0]); ask(one); ask(connected())
client.sendall(b"x")
while not os.path.exists("given"): time.sleep(0.05)
ask(one)"""
    )
    first = cluster.sbatch(
        f"rm -f door given; docker create --name of-first img\n{giver}\ntouch given; sleep 60",
        options="--mem=200",
    )
    cluster.wait(node, "[ -S /home/ann/door ]", "the first job's door")
    second = cluster.run(f"docker create --name of-second img\n{taker}\nrm -f door given", options="--mem=200")
    answers = [line for line in second.output.splitlines() if line[:4] in ("200 ", "403 ")]
    assert answers[:2] == ["200 ['/of-first']", "200 ['/of-second']"], second.output
    assert "the process that opened this connection is gone" in answers[2]
    first.cancel()
    first.wait()


def test_a_child_cannot_go_on_with_the_connection_of_its_dead_parent(cluster: Cluster, node: str) -> None:
    script = python(
        """one, parent = connected(), os.getpid()
if os.fork() == 0:
    try:
        while True: os.kill(parent, 0); time.sleep(0.02)
    except ProcessLookupError:
        ask(one); ask(connected()); open("said", "w").close()
    os._exit(0)"""
    )
    job = cluster.run(f"rm -f said\n{script}\nuntil [ -e said ]; do sleep 0.1; done; rm said")
    assert "the process that opened this connection is gone" in job.output
    assert "200 []" in job.output


# Root in the job's cgroup: ann's process connects and ends, and another process of hers, in the same job, gets its pid
# (clone3(2) with set_tid); then the old connection asks.
REUSED = """import ctypes, struct
here, there = socket.socketpair()
def becomes_ann():
    os.setgroups([1001]); os.setresgid(1001, 1001, 1001); os.setresuid(1001, 1001, 1001)
first = os.fork()
if first == 0:
    becomes_ann()
    one = connected()
    ask(one)
    socket.send_fds(there, [b"x"], [one.fileno()])
    os._exit(0)
os.waitpid(first, 0)
_, fds, _, _ = socket.recv_fds(here, 1, 1)
wanted = ctypes.c_int(first)
arguments = struct.pack("10Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(wanted), 1)
second = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, len(arguments))
if second == 0:
    becomes_ann()
    ask(connected())
    there.send(b"x")
    time.sleep(60)
    os._exit(0)
assert second == first, (second, first, os.strerror(ctypes.get_errno()))
here.recv(1)
ask(socket.socket(fileno=fds[0]))
os.kill(second, 9)"""


def test_a_process_that_got_the_pid_of_a_dead_peer_is_not_the_peer(cluster: Cluster, job: Job) -> None:
    said = asked_from(cluster, OWN, "root", REUSED).splitlines()
    assert said[:2] == ["200 ['/inner']"] * 2, said
    assert said[2].startswith("403 ") and "the process that opened this connection is gone" in said[2], said


@pytest.mark.anywhere
def test_two_jobs_of_one_user_see_their_own_only(cluster: Cluster, node: str) -> None:
    script = """docker create --name {0} img; touch {0}; until [ -e {1} ]; do sleep 0.1; done
    docker ps -a --format '{{{{.Names}}}}'"""
    jobs = [
        cluster.sbatch(
            script.format(*names) + "; echo listed; until [ -e both ]; do sleep 0.1; done", options="--mem=200"
        )
        for names in (("left-one", "right-one"), ("right-one", "left-one"))
    ]
    for job in jobs:
        job.wait_for_output("listed")
    cluster.must(node, "touch both", user="ann")
    for job, own, other in zip(jobs, ("left-one", "right-one"), ("right-one", "left-one"), strict=True):
        job.wait()
        assert f"\n{own}\nlisted" in job.output and other not in job.output, job.output
    cluster.must(node, "rm -f both left-one right-one", user="ann")


@pytest.mark.anywhere
def test_a_job_that_is_closing_launches_nothing_and_may_still_look_and_remove(cluster: Cluster, node: str) -> None:
    script = """docker run -d --name up img sleep 60; docker create --name not-up img; echo begun
    until [ -e go ]; do sleep 0.1; done; rm go
    for what in 'create img' 'start not-up' 'exec up true' 'run --rm img true'; do docker $what && echo launched; done
    docker ps -a --format '{{.Names}}'; docker rm -f up; echo over; sleep 60"""
    job = cluster.sbatch(script)
    job.wait_for_output("begun")
    cluster.must(node, f'sed -i \'s/"state": "open"/"state": "closing"/\' /run/slurm-hooks/jobs/{job.id}-*/job')
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert job.output.count("this job is ending: no container starts in it any more") == 4, job.output
    assert "launched" not in job.output and "up\nnot-up" in job.output.replace("not-up\nup", "up\nnot-up")
    job.cancel()
    job.wait()


@pytest.mark.anywhere
def test_docker_and_docker_py_work_in_the_batch_script_and_in_a_step(cluster: Cluster, node: str) -> None:
    both = """docker run --rm img echo by-cli; /usr/bin/python3 -c '
import docker
print(docker.from_env().containers.run("img", ["echo", "by-py"], remove=True).decode())'"""
    job = cluster.run(f"cat > both.sh <<'END'\n{both}\nEND\nbash both.sh; srun bash both.sh; rm both.sh")
    assert (job.output.count("by-cli"), job.output.count("by-py")) == (2, 2), job.output


def test_a_user_has_a_socket_of_his_own_which_no_other_user_can_open(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("echo begun; exec sleep 600", options="--mem=200")
    job.wait_for_output("begun")
    uid = cluster.must(node, "id -u ann").strip()
    own = f"/run/slurm-hooks/users/{uid}.sock"
    assert cluster.must(node, f"stat -c '%U %a' {own}").split() == ["ann", "600"]
    done = cluster.srun(python(f"connected({own!r})"), user="bob", options="--mem=200")
    assert "PermissionError" in done.err, done
    mine = cluster.srun(python(f"ask(connected({own!r}))"), options="--mem=200")
    assert "200 []" in mine.out, mine
    job.cancel()
    job.wait()
    cluster.wait(node, f"[ ! -e {own} ]", "the end of ann's socket with her last job")


def test_everybodys_socket_serves_jobs_all_the_same(cluster: Cluster, node: str) -> None:
    assert "200 []" in cluster.srun(python("ask(connected())")).out


LOGIN = "env -u DOCKER_HOST bash -lc 'echo host=$DOCKER_HOST'"


@pytest.mark.anywhere
def test_a_login_shell_in_the_job_knows_its_docker_and_one_outside_knows_none(cluster: Cluster, node: str) -> None:
    uid = cluster.must(node, "id -u ann").strip()
    assert f"host=unix:///run/slurm-hooks/users/{uid}.sock\n" in cluster.srun(LOGIN).out
    assert cluster.must(node, LOGIN, user="ann") == "host=\n"


def requeued(cluster: Cluster, job: Job) -> None:
    """Requeue a job and have it start again.

    Slurm itself would wait two minutes. A second has to pass at least: slurmd refuses a credential of the second in
    which the one before was revoked ("Job credential revoked"), and the job would end there.
    """
    controller = cluster.lab.controller
    cluster.must(controller, f"scontrol requeue {job.id}")
    cluster.wait(controller, f"[ $(squeue -h -j {job.id} -o %T) = PENDING ]", "the requeued job")
    second = "now=$(date +%s); until [ $(date +%s) -gt $((now + 1)) ]; do sleep 0.1; done"
    cluster.must(controller, f"{second}; scontrol update jobid={job.id} starttime=now")


@pytest.mark.anywhere
def test_a_requeued_job_is_known_again_and_nothing_of_its_first_run_is_left(cluster: Cluster, node: str) -> None:
    run = "docker run -d --name one img sleep 600; docker ps -q | wc -l; echo run ${SLURM_RESTART_COUNT:-0}; sleep 60"
    job = cluster.sbatch(run, options="--requeue")
    job.wait_for_output("run 0")
    requeued(cluster, job)
    job.wait_for_output("run 1")
    assert job.output.splitlines()[-2:] == ["1", "run 1"], job.output
    assert len(cluster.docker(node, "ps -aq --filter label=slurm-hooks.job").out.split()) == 1
    assert len(cluster.must(node, "ls /run/slurm-hooks/jobs").split()) == 1
    job.cancel()
    cluster.wait_idle(node)
    assert [event["verdict"] for event in job.events("epilog")] == ["clean", "clean"]
    assert [event["restart"] for event in job.events("epilog")] == [0, 1]
    assert cluster.left_on(node) == []


# What slurmd hands to an Epilog, as the job's own Prolog kept it for us.
ENVIRONMENT = "/run/slurm-hooks-test-environment"
KEEPER = f"""printf '#!/bin/sh\\nenv -0 > {ENVIRONMENT}-$SLURM_JOB_RESTART_COUNT\\n' > /etc/slurm/prolog.d/10-keep
chmod 755 /etc/slurm/prolog.d/10-keep"""
LATE = f"""xargs -0 -a {ENVIRONMENT}-0 sh -c '
exec env -i "$@" SLURM_JOB_RESTART_COUNT=1 SLURM_SCRIPT_CONTEXT=epilog_slurmd /etc/slurm/epilog.d/50-slurm-hooks' sh"""


@pytest.mark.anywhere
def test_a_late_second_epilog_does_not_touch_the_job_that_runs_again(cluster: Cluster, node: str) -> None:
    cluster.must(node, KEEPER)
    try:
        run = "docker run -d --name one img sleep 600; echo run ${SLURM_RESTART_COUNT:-0}; sleep 60"
        job = cluster.sbatch(run, options="--requeue")
        job.wait_for_output("run 0")
        requeued(cluster, job)
        job.wait_for_output("run 1")
        cluster.must(node, LATE)
        assert len(cluster.docker(node, "ps -q --filter label=slurm-hooks.job").out.split()) == 1
        assert len(job.events("epilog")) == 1
        job.cancel()
        cluster.wait_idle(node)
        assert len(job.events("epilog")) == 2
    finally:
        cluster.must(node, f"rm -f /etc/slurm/prolog.d/10-keep {ENVIRONMENT}-*")

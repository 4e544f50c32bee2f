# SPDX-License-Identifier: Apache-2.0
"""`docker run` in a job: where it lands, as whom, and that the docker CLI works as everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.labs.base import Done

UID, GID = 1001, 1001  # ann's


@pytest.fixture
def sleeper(cluster: Cluster, node: str) -> Iterator[Job]:
    """A job with a running container called `sleeper`."""
    job = cluster.sbatch("docker run -d --name sleeper img sleep 600; echo started; sleep 600", options="--mem=300")
    job.wait_for_output("started")
    yield job
    job.cancel()
    job.wait()


def first_pid(cluster: Cluster, job: Job) -> int:
    """The pid of the container's first process, as the node sees it."""
    container = cluster.docker(job.node, "ps -q --filter label=slurm-hooks.job").out.split()[0]
    return int(cluster.docker(job.node, f"inspect -f '{{{{.State.Pid}}}}' {container}").out)


def test_the_kernel_says_that_it_is_confined(cluster: Cluster, sleeper: Job) -> None:
    pid = first_pid(cluster, sleeper)
    status = dict(line.split(":\t", 1) for line in cluster.must(sleeper.node, f"cat /proc/{pid}/status").splitlines())
    assert status["Uid"].split() == [str(UID)] * 4
    assert status["Gid"].split() == [str(GID)] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_its_cgroup_lies_below_the_jobs_in_every_hierarchy(cluster: Cluster, sleeper: Job) -> None:
    pid = first_pid(cluster, sleeper)
    lines = cluster.must(sleeper.node, f"cat /proc/{pid}/cgroup").splitlines()
    # Neither Slurm nor runc 1.1 knows v1's misc, by which the kernel counts what no container gets (misc.rst).
    wanted = [line for line in lines if not (line.startswith("0::") or ":misc:" in line) or cluster.version == 2]
    assert wanted and all(f"{sleeper.cgroup}/" in line for line in wanted), lines


def test_its_processes_are_bounded_by_number(cluster: Cluster, sleeper: Job) -> None:
    pid = first_pid(cluster, sleeper)
    hierarchy, pattern = ("/pids", ":pids:") if cluster.version == 1 else ("", "0::")
    path = cluster.must(sleeper.node, f"grep {pattern} /proc/{pid}/cgroup").strip().split(":")[2]
    assert cluster.must(sleeper.node, f"cat /sys/fs/cgroup{hierarchy}{path}/pids.max").strip() == "1024"


def test_apparmor_confines_it_where_the_kernel_has_it(cluster: Cluster, sleeper: Job) -> None:
    if cluster.sh(sleeper.node, "test -e /sys/fs/selinux/enforce").status == 0:
        pytest.skip("the label is SELinux's here (test_selinux.py)")
    enabled = cluster.sh(sleeper.node, "cat /sys/module/apparmor/parameters/enabled").out.strip()
    label = cluster.sh(sleeper.node, f"cat /proc/{first_pid(cluster, sleeper)}/attr/current").out.strip("\0\n")
    assert label == ("slurm-hooks-container (enforce)" if enabled == "Y" else "")


def test_start_is_answered_after_the_kernel_was_asked(cluster: Cluster, sleeper: Job) -> None:
    assert [event["read_back"] for event in sleeper.events("start")] == ["as asked"]


def test_it_has_no_network_but_its_loopback(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm img sh -c 'tail -n +3 /proc/net/dev | cut -d: -f1'")
    assert done.out.split()[-1:] == ["lo"], done


SERVES_ITSELF = "cd /tmp; echo hello > page; httpd -p 127.0.0.1:8080; wget -q -O- http://localhost:8080/page"


def test_its_loopback_is_the_runtimes_work_and_has_a_name(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"docker run -d --name n1 img sleep 600; docker exec n1 sh -c '{SERVES_ITSELF}'; sleep 600")
    job.wait_for_output("hello")
    sandbox = cluster.docker(node, f"inspect --format '{{{{.NetworkSettings.SandboxKey}}}}' slurm-{job.id}-0.n1")
    job.cancel()
    job.wait()
    assert sandbox.out.strip() == "", "dockerd started a process of its own for its network"


def test_it_is_held_by_the_memory_of_the_job(cluster: Cluster, node: str) -> None:
    script = "docker run --rm img tail /dev/zero; echo exit $?"  # it keeps all of an endless line
    done = cluster.srun(script, options="--mem=200")
    assert "exit 137" in done.out, done


def test_the_image_is_read_only_and_tmp_is_not(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm img sh -c 'touch /tmp/a /var/tmp/a /run/a && echo yes; touch /a'")
    assert "yes" in done.out
    assert "Read-only file system" in done.out + done.err


def test_files_written_in_a_bind_mount_are_the_users(cluster: Cluster, node: str) -> None:
    script = """mkdir -p in; echo hello > in/file
    docker run --rm -v $PWD/in:/data -w /data img sh -c 'cat file; echo back > out; grep " /data " /proc/self/mountinfo'
    stat -c %U in/out; cat in/out; rm -r in"""
    done = cluster.srun(script)
    assert "hello" in done.out and "nosuid,nodev" in done.out, done
    assert done.out.splitlines()[-2:] == ["ann", "back"]


def test_a_bind_mount_can_be_read_only_and_a_single_file(cluster: Cluster, node: str) -> None:
    script = """echo hello > one
    docker run --rm -v $PWD/one:/one:ro img sh -c 'cat /one; echo x > /one'; rm one"""
    done = cluster.srun(script)
    assert "hello" in done.out
    assert "Read-only file system" in done.out + done.err


RUN_IT = """mkdir -p in; printf '#!/bin/sh\\necho it ran\\n' > in/program; chmod +x in/program
for how in '' :ro; do docker run --rm -v $PWD/in:/in$how img sh -c '/in/program; sh /in/program; cat /in/program'; done
docker run --rm -v $PWD/in/program:/one img /one; rm -r in"""


@pytest.mark.anywhere
@pytest.mark.parametrize(("text", "ran"), [("", 5), ("[mounts]\nnoexec = true", 2)])
def test_a_program_on_a_mount_runs_where_the_site_lets_it(cluster: Cluster, node: str, text: str, ran: int) -> None:
    with cluster.site(node, text):
        done = cluster.srun(RUN_IT)
    assert done.out.splitlines().count("it ran") == ran, done
    assert done.out.count("#!/bin/sh") == 2  # it can be read in any case
    assert ("ermission denied" in done.err) == (ran == 2), done


IMAGE_WITH_VOLUME = """export DOCKER_HOST=unix:///run/slurm-hooks-docker/docker.sock
container=$(docker create img); docker export $container | docker import --change 'VOLUME /data' - with-volume
docker rm $container"""


def test_an_images_own_volume_is_memory_of_the_job_and_no_directory_of_the_node(cluster: Cluster, node: str) -> None:
    cluster.must(node, IMAGE_WITH_VOLUME)
    done = cluster.srun("docker run --rm with-volume sh -c 'touch /data/x && grep \" /data \" /proc/self/mountinfo'")
    assert " - tmpfs " in done.out, done


@pytest.mark.anywhere
def test_inspect_shows_the_users_own_paths_and_names(cluster: Cluster, node: str) -> None:
    script = """docker run -d --name mm -v $HOME:/home img sleep 60 >/dev/null
    docker inspect -f '{{(index .Mounts 0).Source}} {{.Name}}' mm; docker rm -f mm >/dev/null"""
    assert cluster.srun(script).out.split()[-2:] == ["/home/ann", "/mm"]


COMMANDS = {
    "version": ("docker version", "Server: slurm-hooks"),
    "info": ("docker info", "Cgroup Driver: cgroupfs"),
    "images": ("docker images", "img"),
    "run": ("docker run --rm img echo hello", "hello"),
    "run -i": ("echo from stdin | docker run --rm -i img cat", "from stdin"),
    "run -t": ("script -qec 'docker run --rm -it img tty' /dev/null", "/dev/pts/0"),
    "run -w -e": ("docker run --rm -w /tmp -e X=y img sh -c 'echo $PWD $X'", "/tmp y"),
    "run, who am I": ("docker run --rm img sh -c 'whoami; id -gn; echo $HOME'", "ann\nann\n/tmp\n"),
    "run, home where it is mounted": ("docker run --rm -v $HOME:$HOME img sh -c 'echo ~'", "/home/ann\n"),
    "run, its passwd is read-only": (
        "docker run --rm img grep -o ' /etc/passwd ro' /proc/self/mountinfo",
        " /etc/passwd ro",
    ),
    "run --entrypoint": ("docker run --rm --entrypoint /bin/echo img hello", "hello"),
    "run, exit status": ("docker run --rm img sh -c 'exit 42'; echo exit $?", "exit 42"),
    "run, large output": ("docker run --rm img sh -c 'seq 100000' | tail -1", "100000"),
    "ps": (
        "docker run -d --name p0 img sleep 60; docker ps --format '{{.Names}} {{.Status}}'; docker rm -f p0",
        "p0 Up",
    ),
    "ps --filter": (
        "docker create --name q0 img; docker ps -a --filter name=^/q0$ --format 'name {{.Names}}'; docker rm q0",
        "name q0",
    ),
    "logs": ("docker run --name l0 img echo logged; docker logs l0; docker rm l0", "logged\nlogged"),
    "logs -f": (
        "docker run -d --name f0 img sh -c 'echo a; sleep 1; echo b'; docker logs -f f0; docker rm f0",
        "a\nb\nf0",
    ),
    "wait": ("docker run -d --name w0 img sh -c 'exit 3'; docker wait w0; docker rm w0", "\n3\n"),
    "stop": ("docker run -d --name s0 img sleep 60; docker stop -t 1 s0; docker rm s0", "s0\ns0"),
    "kill": ("docker run -d --name k0 img sleep 60; docker kill k0; docker wait k0; docker rm k0", "137"),
    "rm -f": ("docker run -d --name r0 img sleep 60; docker rm -f r0; docker ps -aq | wc -l", "\n0\n"),
    "exec": ("docker run -d --name e0 img sleep 60; docker exec e0 id -u; docker rm -f e0", "\n1001\n"),
    "exec -i": ("docker run -d --name e0 img sleep 60; echo in | docker exec -i e0 cat; docker rm -f e0", "\nin\n"),
    "exec -it": (
        "docker run -d --name e0 img sleep 60; script -qec 'docker exec -it e0 tty' /dev/null; docker rm -f e0",
        "/dev/pts/0",
    ),
    "exec, exit status": (
        "docker run -d --name e0 img sleep 60; docker exec e0 sh -c 'exit 7'; echo exit $?; docker rm -f e0",
        "exit 7",
    ),
    "inspect": ("docker create --name i0 img; docker inspect -f '{{.Config.User}}' i0; docker rm i0", "1001:1001"),
    "inspect, mounts": (
        "docker create --name i1 img; docker inspect -f 'has {{len .Mounts}}' i1; docker rm i1",
        "has 0",
    ),
    "image inspect": ("docker image inspect -f '{{index .RepoTags 0}}' img", "img:latest"),
    "start -a": ("docker create --name st img echo begun; docker start -a st; docker rm st", "begun"),
}


@pytest.fixture(scope="module")
def commands(cluster: Cluster) -> dict[str, Done]:
    """Every command above, run in one job."""
    return cluster.srun_each({name: script for name, (script, _) in COMMANDS.items()})


@pytest.mark.anywhere
@pytest.mark.parametrize("name", COMMANDS)
def test_the_docker_cli_works_unmodified(commands: dict[str, Done], name: str) -> None:
    assert COMMANDS[name][1] in commands[name].out.replace("\r", ""), commands[name]


@pytest.mark.anywhere
def test_ctrl_c_reaches_the_container(cluster: Cluster, node: str) -> None:
    script = """docker run --rm img \\
      sh -c 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.1; done' > out &
    until grep -q ready out; do sleep 0.1; done
    kill -INT $!; wait $!; echo exit $?; cat out; rm out"""
    done = cluster.srun(f"set -m\n{script}")  # a job of its own of the shell, else bash has it ignore SIGINT
    assert "exit 5" in done.out and "caught" in done.out, done


@pytest.mark.anywhere
def test_a_container_of_another_job_is_neither_seen_nor_touched(cluster: Cluster, sleeper: Job) -> None:
    container = cluster.docker(sleeper.node, "ps -q --no-trunc --filter label=slurm-hooks.job").out.strip()
    script = f"""docker ps -aq; for name in sleeper {container} {container[:12]} slurm-{sleeper.id}-0.sleeper; do
    docker inspect $name; docker kill $name; docker rm -f $name; docker logs $name; docker exec $name id; done"""
    for user in ("ann", "bob"):
        done = cluster.srun(script, user=user, options="--mem=100")
        assert "uid=" not in done.out and container[:12] not in done.out, done
        assert done.err.count("No such") == 4 * 5, done
    assert cluster.docker(sleeper.node, f"inspect -f '{{{{.State.Running}}}}' {container}").out.strip() == "true"


@pytest.mark.anywhere
def test_two_jobs_may_use_the_same_name(cluster: Cluster, sleeper: Job) -> None:
    done = cluster.srun("docker run --rm --name sleeper img echo mine", options="--mem=100")
    assert done.out.strip().endswith("mine"), done


@pytest.mark.anywhere
def test_a_taken_name_is_refused_in_dockers_words(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker create --name x1 img; docker create --name x1 img; docker rm x1")
    assert 'The container name "/x1" is already in use by container' in done.err


DOCKER_PY = """
import docker, os, json
client = docker.from_env()
print(client.containers.run("img", ["echo", "from docker-py"], remove=True).decode().strip())
c = client.containers.run("img", "sleep 60", detach=True, volumes={os.environ["HOME"]: {"bind": "/w", "mode": "ro"}})
print(json.dumps({"status": client.containers.get(c.id).status, "exec": c.exec_run("id -u").output.decode().strip()}))
c.remove(force=True)
"""


def test_docker_py_works(cluster: Cluster, node: str) -> None:
    done = cluster.srun(f"/usr/bin/python3 - <<'EOF'\n{DOCKER_PY}\nEOF")
    lines = done.out.splitlines()
    assert "from docker-py" in lines, done
    assert json.loads(lines[-1]) == {"status": "running", "exec": str(UID)}


@pytest.mark.anywhere
def test_what_a_runtime_does_otherwise_is_read_back(cluster: Cluster, node: str) -> None:
    # crun 1.21 takes nosuid and nodev from what it binds.
    conf = "/etc/docker/slurm-jobs.json"
    other = '"runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun",'
    cluster.must(node, f"cp {conf} /run/kept-jobs.json; sed -i '2i {other}' {conf}")
    try:
        cluster.service(node, "restart", "dockerd")
        done = cluster.srun("docker run -d -v $HOME:/w img sleep 600")
    finally:
        cluster.must(node, f"cp /run/kept-jobs.json {conf}; rm /run/kept-jobs.json")
        cluster.service(node, "restart", "dockerd")
    assert done.status != 0 and "/w is not nosuid,nodev" in done.err, done

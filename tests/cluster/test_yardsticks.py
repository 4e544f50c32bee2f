# SPDX-License-Identifier: Apache-2.0
"""A plain `docker run` of a job's user, measured by others' yardsticks: tests/cluster/yardsticks.py has the rows.

Asked of dockerd's own record and of the kernel, of a container without any flag and of one with a bind mount.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.cluster.yardsticks import CONTAINER, DAEMON, FILES, SOCKET, Container, Daemon

SCRIPT = """mkdir -p yard
docker run -d --name plain img sleep 600; docker run -d --name mounted -v $PWD/yard:/w img sleep 600
docker exec --privileged plain true 2>privileged.err; docker exec -u root plain true 2>root.err
echo started; sleep 600"""
# Run on the node, as root; the job's containers by the label that ours bear.
LOOK = r"""
import json, os, subprocess, sys
DOCKER = ["docker", "-H", "unix:///run/slurm-hooks-docker/docker.sock"]
def run(*argv): return subprocess.run(argv, capture_output=True, text=True).stdout
def read(path):
    try: return open(path, errors="replace").read().strip().rstrip("\0")
    except OSError: return ""
def first(*paths): return next((text for path in paths if (text := read(path))), "")
def lsm():
    if read("/sys/module/apparmor/parameters/enabled") == "Y": return "apparmor"
    return "selinux" if os.path.exists("/sys/fs/selinux/enforce") else ""
def cgroup(pid, controller):
    lines = [line.split(":", 2) for line in read(f"/proc/{pid}/cgroup").splitlines()]
    v1 = [path for _, names, path in lines if controller in names.split(",")]
    return (f"/sys/fs/cgroup/{controller}", v1[0]) if v1 else ("/sys/fs/cgroup", lines[-1][2])
def spaces(pid): return {n: os.readlink(f"/proc/{pid}/ns/{n}") for n in ("net", "pid", "ipc", "mnt", "uts", "cgroup")}
def container(inspect):
    pid = inspect["State"]["Pid"]
    (memory, path), (pids, own) = cgroup(pid, "memory"), cgroup(pid, "pids")
    mounts = [line.split(" - ")[0].split(" ") for line in read(f"/proc/{pid}/mountinfo").splitlines()]
    return dict(
        inspect=inspect, label=read(f"/proc/{pid}/attr/current"), lsm=lsm(), cgroup=own,
        status=dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line),
        mounts={at[4]: " ".join(at[5:]) for at in mounts}, namespaces=spaces(pid), host_namespaces=spaces(1),
        limits={"memory": first(f"{memory}{path}/memory.max", f"{memory}{path}/memory.limit_in_bytes"),
                "pids": read(f"{pids}{own}/pids.max")},
        interfaces=[line.split(":")[0].strip() for line in read(f"/proc/{pid}/net/dev").splitlines()[2:]],
        devices=[n for n in os.listdir(f"/proc/{pid}/root/dev") if not os.path.islink(f"/proc/{pid}/root/dev/{n}")
                 and not os.path.isdir(f"/proc/{pid}/root/dev/{n}")],
        programs=run(*DOCKER, "top", inspect["Id"]).splitlines()[1:],
    )
ids = run(*DOCKER, "ps", "-q", "--filter", "label=slurm-hooks.job").split()
print(json.dumps([container(one) for one in json.loads(run(*DOCKER, "inspect", *ids))]))
"""
OF_DAEMON = r"""
import json, os, pwd, grp, subprocess, sys
def run(*argv): return subprocess.run(argv, capture_output=True, text=True).stdout
def facts(path):
    try: found = os.stat(path)
    except OSError: return None
    return pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name, found.st_mode & 0o777
pid = open("/run/slurm-hooks-docker/docker.pid").read().strip()
ours = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
lines = [line.split() for kind in ("tcp", "tcp6") for line in open(f"/proc/{pid}/net/{kind}").read().splitlines()[1:]]
print(json.dumps(dict(
    config=json.load(open("/etc/docker/slurm-jobs.json")),
    arguments=open(f"/proc/{pid}/cmdline").read().replace("\0", " "),
    info=json.loads(run("docker", "-H", "unix:///run/slurm-hooks-docker/docker.sock", "info", "-f", "{{json .}}")),
    group=run("getent", "group", "docker").strip().rpartition(":")[2],
    files={path: found for path in json.loads(sys.argv[1]) if (found := facts(path))},
    listens=" ".join(line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in ours),
)))
"""


def asked(cluster: Cluster, program: str, *arguments: str) -> Any:
    """What a program on the node says, as root."""
    words = " ".join(f"'{word}'" for word in arguments)
    return json.loads(cluster.must(cluster.node, f"/usr/bin/python3 - {words}", stdin=program))


def memory_of(cluster: Cluster, job: Job) -> int:
    """What Slurm gave the job, by its cgroup; the node's own where it bounds none."""
    file = "memory/{}/memory.limit_in_bytes" if cluster.version == 1 else "{}/memory.max"
    text = cluster.sh(job.node, f"cat /sys/fs/cgroup/{file.format(job.cgroup)}").out.strip()
    return int(text) if text.isdigit() else 1 << 62


@pytest.fixture(scope="module")
def containers(cluster: Cluster) -> Iterator[list[Container]]:
    """What is seen of a job's two containers."""
    cluster.wait_idle(cluster.node)
    job = cluster.sbatch(SCRIPT, options="--mem=300")
    try:
        job.wait_for_output("started")
        execs = {name: cluster.must(job.node, f"cat {name}.err", user="ann") for name in ("privileged", "root")}
        about = {"cgroup": job.cgroup, "memory": memory_of(cluster, job)}
        swarm = cluster.docker(job.node, "info -f '{{.Swarm.LocalNodeState}}'").out.strip()
        seen = asked(cluster, LOOK)
        assert len(seen) == 2, job.output
        yield [Container(**one, job=about, swarm=swarm, execs=execs) for one in seen]
    finally:
        job.cancel()
        job.wait()
        cluster.sh(job.node, "rm -rf yard privileged.err root.err", user="ann")


@pytest.fixture(scope="module")
def daemon(cluster: Cluster) -> Daemon:
    """What is seen of the jobs' dockerd."""
    said = asked(cluster, OF_DAEMON, json.dumps(FILES))
    return Daemon(**said | {"files": {path: tuple(facts) for path, facts in said["files"].items()}})


@pytest.mark.parametrize("row", CONTAINER)
def test_a_container_without_any_flag_passes(containers: list[Container], row: str) -> None:
    for seen in containers:
        assert CONTAINER[row](seen), seen.inspect


@pytest.mark.parametrize("row", DAEMON)
def test_the_jobs_dockerd_passes(daemon: Daemon, row: str) -> None:
    assert daemon.files[SOCKET]
    assert DAEMON[row](daemon), daemon

# SPDX-License-Identifier: Apache-2.0
"""Ways out: of the job's cgroup and limits, of the container, of the job's end."""

from __future__ import annotations

import re

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.labs.base import Done

# Slurm 22.05, and no later one here, makes the directory of a task's cgroup (v1: and of its step's, where Slurm itself
# has a controller) its user's, and nothing in it: see below.
BUT_ITS_TASKS = """grep -vE $(srun -V | grep -q ' 22[.]05' &&
    echo '/step_[^/]+/user/task_[0-9]+$|^/sys/fs/cgroup/[^/]+/slurm.*/step_[^/]+(/task_[0-9]+)?$' || echo '^$')"""
# In the job script, as its user. `leave` tries to move a process of its own to another cgroup.
IN_THE_JOB = {
    # v1's cgroup.event_control is everybody's: what is written there is judged by the files that it names.
    "files of cgroups that it may write": """find /sys/fs/cgroup -type f -writable ! -name cgroup.event_control \
    2>/dev/null""",
    "directories of cgroups that it may write": f"find /sys/fs/cgroup -type d -writable 2>/dev/null | {BUT_ITS_TASKS}",
    "leave for the root": """sleep 60 & for procs in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
    echo $! > $procs && echo left; done; kill $!""",
    "leave for Slurm's own": """sleep 60 & for procs in $(find /sys/fs/cgroup -name cgroup.procs -path '*slurm*'); do
    echo $! > $procs && echo left; done; kill $!""",
    "raise its limit": """for l in $(find /sys/fs/cgroup -name pids.max); do
    echo max > $limit && echo raised; done""",
    "a cgroup of its own": f"""for t in $(find /sys/fs/cgroup -type d -path '*slurm*' | {BUT_ITS_TASKS}); do
    mkdir $t/x && echo made; done""",
    "in a cgroup below its task's": """sleep 60 & for t in $(find /sys/fs/cgroup -type d -path '*/user/task_*'); do
    mkdir -p $t/y; echo $! > $t/y/cgroup.procs && echo left; done; kill $!""",
    "mount cgroups in a namespace": """unshare -UrmC sh -c 'mount -t cgroup2 none /mnt && echo max > /mnt/pids.max &&
    echo raised; mount -t cgroup -o pids none /mnt && echo max > /mnt/pids.max && echo raised'""",
    "the records": "ls /run/slurm-hooks/jobs && echo read; echo x > /run/slurm-hooks/x && echo written",
    "the broker's socket, replaced": "rm -f /run/slurm-hooks/docker.sock; mv /run/slurm-hooks /run/x && echo moved",
    "the user's own socket, replaced": """own=/run/slurm-hooks/users/1001.sock; [ -S $own ] || echo missing
    rm $own && echo gone; mv $own $own.x && echo moved; touch /run/slurm-hooks/users/1002.sock && echo made""",
    "the events": "cd /var/log/slurm-hooks && echo in; cat /var/log/slurm-hooks/events.jsonl && echo read",
    "signals to daemons": "kill -9 $(pgrep -f 'slurm-hooks broker|dockerd|containerd|slurmd') && echo killed",
    "a scope of systemd's": "systemd-run --scope sleep 60 && echo left",
    "the user's own manager": "systemd-run --user --scope sleep 60 && echo left; loginctl enable-linger && echo in",
    "containerd's socket": """/usr/bin/python3 -c 'import socket
socket.socket(socket.AF_UNIX).connect("/run/containerd/containerd.sock"); print("connected")'""",
}
# In a container.
INSIDE = {
    "mounts": "mount -t tmpfs none /tmp && echo did",
    "remounts": "mount -o remount,rw / && echo did; mount -o remount,rw /proc/sys && echo did",
    "namespaces": "unshare -U true && echo did; unshare -m true && echo did; unshare -r true && echo did",
    "cgroup": "echo $$ > /sys/fs/cgroup/cgroup.procs && echo did; mkdir /sys/fs/cgroup/x && echo did",
    "cgroups of v1": "for top in /sys/fs/cgroup/*/; do mkdir $top/x && echo did; done",
    "its own limit": "for l in $(find /sys/fs/cgroup -name '*.max'); do echo max > $l && echo did; done",
    "release agent": "cd /sys/fs/cgroup; echo /x > release_agent && echo did; echo 1 > notify_on_release && echo did",
    "devices": "mknod /tmp/m c 1 1 && echo did; mknod /tmp/b b 98 0 && echo did; cat /dev/mem && echo did",
    "sysctls": "echo x > /proc/sys/kernel/core_pattern && echo did; echo h > /proc/sysrq-trigger && echo did",
    "its oom score": "cd /proc/self; echo -1000 > oom_score_adj && echo did; grep -q ^- oom_score_adj && echo did",
    "root": "su -c id root && echo did; setpriv --reuid 0 id && echo did; chroot / true && echo did",
    "processes of the node": "kill -9 -1; [ $(ls -d /proc/[0-9]* | wc -l) -lt 9 ] || echo did",
    "the image": "touch /bin/x && echo did; touch /etc/x && echo did",
    "masked files": "cat /proc/keys /proc/timer_list /proc/kcore | head -c 1 | grep -q . && echo did",
    "modules": "insmod /x.ko && echo did; modprobe dummy && echo did",
    "the network": "ip link add x type dummy && echo did; ip link set lo down && echo did",
    "the clock": "date -s 2000-01-01; [ $(date +%Y) -gt 2001 ] || echo did; hostname attack && echo did",
    "priority": "nice -n -5 true && [ $(nice -n -5 nice) -lt 0 ] && echo did",
    "swap": "swapon /tmp && echo did; reboot -f && echo did",
}


@pytest.fixture(scope="module")
def tried(cluster: Cluster) -> dict[str, Done]:
    """Everything above: on the node side one shell each, inside all in one container."""
    inside = "\n".join(f"echo BEGIN {name}; ({script})" for name, script in INSIDE.items())
    found = cluster.srun_each(IN_THE_JOB | {"inside": f"docker run --rm -i img sh 2>/dev/null <<'END'\n{inside}\nEND"})
    parts = found["inside"].out.split("BEGIN ")[1:]
    return found | {name: Done(0, text, "") for name, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("name", IN_THE_JOB)
def test_the_job_does_not_get_out(tried: dict[str, Done], name: str) -> None:
    assert tried[name].out == "", tried[name]


# Into cgroups of its own, where it may make any, the job moves what is its user's: a process, and its container's.
MOVED = """grep -q :pids: /proc/self/cgroup && TREE=:pids:
sleep 7020 & docker run -d img sleep 7021 >/dev/null
for t in $(find /sys/fs/cgroup -type d -writable -path '*slurm*'); do
    mkdir -p $t/x/y && for pid in $(pgrep -fx 'sleep 702[01]'); do echo $pid > $t/x/cgroup.procs; done
done 2>/dev/null
cat $(pgrep -fx 'sleep 702[01]' | sed 's,.*,/proc/&/cgroup,') | grep ${TREE:-^0::}"""


def test_what_it_moved_into_cgroups_of_its_own_goes_with_the_job(cluster: Cluster, node: str) -> None:
    job = cluster.run(MOVED)
    assert job.wait()["verdict"] == "clean"  # and nothing is left, which is looked at after each test
    assert re.findall(rf":{re.escape(job.cgroup)}\b", job.output) == [f":{job.cgroup}"] * 2, job.output
    assert cluster.sh(node, "pgrep -fx 'sleep 702[01]'").status == 1


@pytest.mark.parametrize("name", INSIDE)
def test_the_container_does_not_get_out(tried: dict[str, Done], name: str) -> None:
    assert "did" not in tried[name].out, tried[name]


# The marks are durations of sleep, which nobody else sleeps.
DAEMONS = """setsid sleep 7001 & (setsid sh -c 'nohup sleep 7002 &' &)
/usr/bin/python3 -c 'import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "7003"])'
unshare -Urpf sleep 7004 &
docker run -d img sh -c '(setsid sleep 7005 &); setsid sleep 7006 & exec sleep 7007' >/dev/null
docker run -d --name ee img sleep 7008 >/dev/null; docker exec -d ee setsid sleep 7009
trap '' TERM INT HUP; sleep 7010 & (trap '' TERM; exec sleep 7011) & kill -STOP $!
until pgrep -f 'sleep 7009' >/dev/null && pgrep -f 'sleep 7005' >/dev/null; do sleep 0.1; done; echo begun"""
ALIVE = "pgrep -a sleep | grep -o '70[01][0-9]' | sort -u | tr '\\n' ' '"


def test_no_daemon_outlives_its_job(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch(f"{DAEMONS}; until [ -e go ]; do sleep 0.1; done; rm go")
    job.wait_for_output("begun")
    assert set(cluster.must(node, ALIVE).split()) >= {"7001", "7002", "7003", "7005", "7006", "7007", "7008", "7009"}
    cluster.must(node, "touch go", user="ann")
    assert job.wait()["verdict"] == "clean"
    assert cluster.must(node, ALIVE) == ""


# A container has no python: this one is the node's own, brought along in the user's home.
BRING = """rm -rf py; mkdir -p py/lib; cp /usr/bin/python3 py/; cp $(ldd /usr/bin/python3 | grep -o '/[^ ]*') py/lib
version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
mkdir -p py/lib/$version; cp -r /usr/lib/$version/encodings /usr/lib/$version/os.py py/lib/$version"""
# The job's side hands the broker's directory, then a connection of its own, to whom asks.
GIVER = """import array, os, socket
door = socket.socket(socket.AF_UNIX); door.bind("py/door"); door.listen()
client, _ = door.accept()
own = socket.socket(socket.AF_UNIX); own.connect("/run/slurm-hooks/docker.sock")
fds = array.array("i", [os.open("/run/slurm-hooks", os.O_PATH), own.fileno()])
client.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
client.recv(1)"""
TAKER = """import _socket as s
door = s.socket(s.AF_UNIX); door.connect("/py/door")
_, got, _, _ = door.recvmsg(1, 64)
directory = int.from_bytes(got[0][2][:4], "little")
try:
    c = s.socket(s.AF_UNIX); c.connect("/proc/self/fd/%d/docker.sock" % directory)
    c.send(b"GET /containers/json HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n")
    print(c.recv(65536).decode())
except OSError as error:
    print("no way", error)"""


def test_a_container_that_was_handed_the_brokers_directory_is_refused(cluster: Cluster, node: str) -> None:
    run = "docker run --rm -v $PWD/py:/py -e PYTHONHOME=/py img /py/lib/ld-linux-x86-64.so.2 --library-path /py/lib"
    script = f"""{BRING}
    cat > py/giver <<'END'\n{GIVER}\nEND
    cat > py/taker <<'END'\n{TAKER}\nEND
    /usr/bin/python3 py/giver & until [ -S py/door ]; do sleep 0.1; done
    {run} /py/python3 -S /py/taker; wait; rm -rf py"""
    done = cluster.srun(script)
    assert "this process is in no job that slurm-hooks knows" in done.out or "no way" in done.out, done
    assert "HTTP/1.1 200" not in done.out


@pytest.fixture
def victim(cluster: Cluster, node: str) -> Job:
    """Bob's job with a running container."""
    job = cluster.sbatch(
        "docker run -d --name hers img sleep 600; echo begun; sleep 60", user="bob", options="--mem=200"
    )
    job.wait_for_output("begun")
    return job


@pytest.mark.anywhere
def test_a_name_that_shadows_anothers_id_hits_ones_own(cluster: Cluster, victim: Job) -> None:
    container = cluster.docker(victim.node, "ps -q --no-trunc --filter label=slurm-hooks.job").out.strip()
    script = f"""for name in {container[:12]} {container[:6]} {container}; do docker create --name $name img >/dev/null
    docker kill $name; docker inspect -f '{{{{.Name}}}}' $name; docker rm -f $name; done
    docker ps -a --filter before={container}; docker ps -a --filter since=slurm-{victim.id}-0.hers; docker ps -aq"""
    done = cluster.srun(script, options="--mem=200")
    assert done.out.count(f"/{container[:6]}") == 3, done
    assert cluster.docker(victim.node, f"inspect -f '{{{{.State.Running}}}}' {container}").out.strip() == "true"
    victim.cancel()
    assert victim.wait()["verdict"] == "clean"

# SPDX-License-Identifier: Apache-2.0
"""What root that is nobody outside tries, and gets nowhere with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest

from slurm_hooks.knobs.seccomp import OF_MAKER
from tests.attacks.calls import ASK, BRING, EPERM, every_call
from tests.cluster.remap import remapped
from tests.cluster.slurm import Cluster
from tests.faults.gate import gate

# Each has to fail; what succeeds is printed, and what the image has no program for.
TRIES = {
    "mount": "mount -t tmpfs tmpfs /tmp",
    "remount of the root": "mount -o remount,rw /",
    "bind mount": "mount --bind /d /tmp",
    "mknod on the bind mount": "mknod /d/null c 1 3",
    "mknod in /dev": "mknod /dev/sda b 8 0",
    "chown on the bind mount": "chown 1 /d/mine",
    "chown to the job's uid": "chown 1001 /d/mine",
    "chgrp on the bind mount": "chgrp 1 /d/mine",
    "another user namespace": "unshare -U true",
    "another mount namespace": "unshare -m true",
    "the namespaces of pid 1": "nsenter -t 1 -m true",
    "another user": "httpd -u 1:1 -p 127.0.0.1:8081 -h /",
    "a file of root's on the bind mount": "cat /d/root >/dev/null",
    # On v1 there is a directory for each hierarchy, in a tmpfs of the container's own.
    "a limit of pids": "echo max > $(ls /sys/fs/cgroup/pids/pids.max || echo /sys/fs/cgroup/pids.max)",
    "another cgroup": "mkdir $(ls -d /sys/fs/cgroup/pids || echo /sys/fs/cgroup)/mine",
    "a setting of the kernel": "echo 1 > /proc/sys/kernel/panic",
    "another's oom score": "echo -1000 > /proc/1/oom_score_adj",
    "a core's handler": "echo '|/d/x' > /proc/sys/kernel/core_pattern",
    "a host name": "hostname mine",
    "a root of its own": "chroot / true",
    "more open files": "ulimit -Hn 1000000",
    "a process of the node": "grep -qx slurmd /proc/[0-9]*/comm",
}


@pytest.fixture(scope="module")
def uid(cluster: Cluster) -> Iterator[int]:
    """Whom root inside is outside."""
    with remapped(cluster) as found:
        yield found


def test_root_inside_can_do_nothing_of_roots(cluster: Cluster, node: str, uid: int) -> None:
    cluster.must(node, "mkdir -p d; touch d/mine", user="ann")
    cluster.must(node, "echo secret > /home/ann/d/root; chmod 600 /home/ann/d/root")
    cluster.must(node, "cat > d/tries", stdin=script(TRIES), user="ann")
    done = cluster.srun("docker run --rm --user 0 -v $HOME/d:/d img sh /d/tries; stat -c %U d/mine; rm -rf d")
    assert done.out.endswith(" in a container\nover\nann\n"), done


# What would change the node itself, or leave a cgroup there, is not done with a root that can.
HARMLESS = TRIES.keys() - {
    "a limit of pids", "another cgroup", "a setting of the kernel", "another's oom score", "a core's handler",
    "a process of the node", "more open files", "mknod in /dev",
}  # fmt: skip


def test_a_root_that_is_one_does_it(cluster: Cluster, node: str) -> None:
    """The same words, so that they fail for want of rights alone."""
    cluster.must(node, "mkdir -p d; touch d/mine", user="ann")
    cluster.must(node, "cd /home/ann/d; echo secret > root; chmod 600 root; cat > tries", stdin=script(HARMLESS))
    # Not --privileged: a node of lab (a) has not every device to give.
    walls = " ".join(f"--security-opt {wall}=unconfined" for wall in ("seccomp", "apparmor", "systempaths"))
    run = f"run --rm --cap-add ALL {walls} --userns host --network none -v /home/ann/d:/d img sh /d/tries"
    done = cluster.docker(node, run)
    cluster.must(node, "rm -rf /home/ann/d")
    assert {line.removeprefix("DONE ") for line in done.out.splitlines()} == {*HARMLESS, "over"}, done


def script(names: Iterable[str]) -> str:
    """It says what of them was done."""
    lines = (
        f"command -v {TRIES[name].split()[0]} >/dev/null || echo MISSING {name!r}; "
        f"timeout 5 sh -c {quoted(TRIES[name])} 2>/dev/null && echo DONE {quoted(name)}"
        for name in sorted(names)
    )
    return "\n".join([*lines, "echo over", ""])


def quoted(what: str) -> str:
    """For a shell in a shell."""
    return "'" + what.replace("'", "'\\''") + "'"


# Root of the node makes a user namespace, whose root, nobody outside, takes all that there is.
COUNTED = """import ctypes, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)
def instance(): return libc.inotify_init1(0) >= 0
def timer(): return libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p())) == 0
def ends(what):
    for got in range(100_000):
        if not what(): return got
resource.setrlimit(resource.RLIMIT_SIGPENDING, (2000, 2000))
(here, there), (ready, tell) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert libc.unshare(0x10000000) == 0
    os.write(tell, b"x"); os.read(here, 1)
    assert libc.setresgid(0, 0, 0) == 0 and libc.setresuid(0, 0, 0) == 0
    assert ends(WHAT) > 0
    os.write(tell, b"x"); os.read(here, 1); os._exit(0)
os.read(ready, 1)
for name in ("uid_map", "gid_map"): open(f"/proc/{child}/{name}", "w").write("0 300000 1")
os.write(there, b"x"); os.read(ready, 1)
print("root of the node gets", all(WHAT() for _ in range(20)), flush=True)
os.write(there, b"x"); os.waitpid(child, 0)
print("and afterwards", WHAT())
"""


@pytest.mark.parametrize("what", ["instance", "timer"])
def test_the_kernel_counts_on_the_maker_of_a_user_namespace(cluster: Cluster, node: str, what: str) -> None:
    """Why inotify is closed, and pending signals are few (knobs/seccomp.py, ulimits.py). If this fails, open them.

    Somebody else of root's may let one go meanwhile, so it asks for a few.
    """
    said = cluster.must(node, "python3 -", stdin=COUNTED.replace("WHAT", what))
    assert said == "root of the node gets False\nand afterwards True\n"


def test_its_filter_is_that_of_all_others_and_closes_more(cluster: Cluster, node: str, uid: int) -> None:
    """ptrace(2) of others, setns(2), keys, mounts: closed before the kernel asks who it is (test_syscalls.py)."""
    cluster.must(node, "cat > calls", user="ann", stdin=every_call())
    run = "docker run -i --rm -v $PWD/py:/py:ro -e PYTHONHOME=/py"
    done = cluster.srun_each(
        {"bring": BRING, "root": f"{run} --user 0 img {ASK}", "user": f"{run} img {ASK}; rm -rf py calls"}
    )
    root, user = (json.loads(done[who].out.splitlines()[-1]) for who in ("root", "user"))
    assert user["setns"] == user["keyctl"] == user["mount"] == user["PTRACE_ATTACH"] == EPERM
    assert {call: answer for call, answer in root.items() if answer != user[call]} == dict.fromkeys(OF_MAKER, EPERM)


def test_a_setuid_file_of_root_inside_is_none_outside(cluster: Cluster, node: str, uid: int) -> None:
    make = "cp /bin/busybox /d/id; chmod 6755 /d/id"
    done = cluster.srun(
        f"mkdir d; docker run --rm --user 0 -v $HOME/d:/d img sh -c '{make}'; stat -c '%U %a' d/id; rm -rf d"
    )
    assert done.out.endswith("ann 6755\n"), "it is the user's own, who could have made it"


def test_root_inside_of_two_users_do_not_see_each_other(cluster: Cluster, node: str, uid: int) -> None:
    """One uid outside, which the kernel alone would let signal and trace each other."""
    first = cluster.sbatch(
        "docker run -d --name aa --user 0 img sleep 4321; echo begun; sleep 600", options="--mem=200"
    )
    first.wait_for_output("begun")
    pid = cluster.must(node, "pgrep -fx 'sleep 4321'").strip()
    tries = f"kill -9 {pid}; cat /proc/{pid}/environ; ls /proc/{pid}/root; kill -9 -1; pgrep -f 4321; true"
    done = cluster.srun(f'docker run --rm --user 0 img sh -c "{tries}"', user="bob", options="--mem=200")
    alive = cluster.sh(node, f"kill -0 {pid}").status
    first.cancel()
    first.wait()
    assert alive == 0 and "4321" not in done.out.split(), done


def test_mounts_of_two_users_stay_their_own(cluster: Cluster, node: str, uid: int) -> None:
    """Both are the same uid outside; what each mounts is idmapped to its own user, and to nobody else."""
    cluster.must(node, "mkdir -p d; echo mine > d/file; chmod 700 d; chmod 755 .", user="ann")
    done = cluster.srun("docker run --rm --user 0 -v /home/ann/d:/d img cat /d/file", user="bob")
    cluster.must(node, "chmod 755 d; chmod 600 d/file", user="ann")
    read = cluster.srun("docker run --rm --user 0 -v /home/ann/d:/d img cat /d/file", user="bob")
    cluster.must(node, "rm -rf d; chmod 700 .", user="ann")
    assert "mine" not in done.out + read.out and done.status and read.status == 1, (done, read)


@pytest.mark.parametrize(
    ("user", "asked", "made", "words"),
    [
        ("--user 0", '"UsernsMode": ""', '"UsernsMode": "host"', "root inside is root of the node's user namespace"),
        ("", '"UsernsMode": "host"', '"UsernsMode": ""', "it is in a user namespace of its own"),
    ],
    ids=["root of the node", "a user of nobody's"],
)
def test_what_dockerd_made_of_another_user_namespace_is_ended(
    cluster: Cluster, node: str, uid: int, user: str, asked: str, made: str, words: str
) -> None:
    with gate(cluster, "rewritten", "/containers/create", (asked, made)):
        job = cluster.run(f"docker run --rm {user} img sleep 600; echo exit $?")
    assert "this container was ended: it was not confined as asked" in job.output, job.output
    assert words in str(job.events("differs")[0]["what"]), job.events("differs")

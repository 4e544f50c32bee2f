# SPDX-License-Identifier: Apache-2.0
"""Every system call there is, from within a job's container: what knobs/syscalls.py says, the kernel does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurm_hooks.knobs.syscalls import ABSENT, CLOSED, IN_PART, NAMESPACES, OPEN
from tests.attacks import probe
from tests.cluster.slurm import Cluster

EPERM, ENOSYS, REACHED, ENDED = 1, 38, 0, 128 + 31  # SIGSYS
PAST_FILTERS = ("uretprobe", "uprobe")  # from Linux 6.14 on; a process that makes them itself is ended
NUMBERS = {
    name: int(number)
    for number, name in map(
        str.split, (Path(__file__).parents[1] / "data/syscalls-x86_64.txt").read_text().splitlines()
    )
}
EXPECTED = {
    **{call: REACHED for group in OPEN for call in group.calls},
    **{call: ENOSYS for group in ABSENT for call in group.calls if call not in PAST_FILTERS},
    **{call: EPERM for group in CLOSED for call in group.calls},
}
NUMA = {"get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "move_pages", "migrate_pages"}
HIGH = 1 << 32  # a bit that the kernel does not look at
# What is asked of the calls that are open in part, and what the answer must be.
ARGUMENTS: dict[str, tuple[int, tuple[int | str, ...]]] = {
    "a process": (REACHED, ("clone", 0x01200011)),
    "a thread": (REACHED, ("clone", 0x003D0F00)),
    **{f"a namespace {1 << bit:#x}": (EPERM, ("clone", 1 << bit | 17)) for bit in range(32) if NAMESPACES >> bit & 1},
    "all namespaces and a stray bit": (EPERM, ("clone", NAMESPACES | HIGH)),
    "a Unix socket": (REACHED, ("socket", 1, 1)),
    "a pair of Unix sockets": (REACHED, ("socketpair", 1, 1)),
    "a pair of IPv4": (EPERM, ("socketpair", 2, 1)),
    **{
        f"IPv{v} {p}": (REACHED, ("socket", f, 1, n)) for v, f in ((4, 2), (6, 10)) for p, n in (("any", 0), ("TCP", 6))
    },
    "UDP": (REACHED, ("socket", 2, 2, 17)),
    "SCTP": (EPERM, ("socket", 2, 1, 132)),
    "DCCP": (EPERM, ("socket", 2, 6, 33)),
    "MPTCP": (EPERM, ("socket", 2, 1, 262)),
    "IPv4 and a stray bit": (EPERM, ("socket", 2 | HIGH, 1)),
    "netlink: routes": (REACHED, ("socket", 16, 3, 0)),
    "netlink: nftables": (EPERM, ("socket", 16, 3, 12)),
    "netlink: xfrm": (EPERM, ("socket", 16, 3, 6)),
    **{f"family {family}": (EPERM, ("socket", family, 2)) for family in range(46) if family not in (1, 2, 10, 16)},
    "TCGETS": (REACHED, ("ioctl", 0, 0x5401)),
    "musl's TIOCGPTN, with its sign": (REACHED, ("ioctl", 0, 0xFFFFFFFF_80045430)),
    **{
        f"{name}{' and a stray bit' * bool(high)}": (EPERM, ("ioctl", 0, number | high))
        for name, number in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCSETD", 0x5423))
        for high in (0, HIGH, 1 << 63)
    },
    **{
        f"ioctl {number:#x}": (REACHED, ("ioctl", 0, number))
        for number in (0x5411, 0x5413, 0x541B, 0x541D, 0x5422, 0x5424)
    },
    "PTRACE_TRACEME": (REACHED, ("ptrace", 0)),
    "PTRACE_DETACH": (REACHED, ("ptrace", 17)),
    "PTRACE_GETREGSET": (REACHED, ("ptrace", 0x4204)),
    "PTRACE_GET_SYSCALL_INFO": (REACHED, ("ptrace", 0x420E)),
    "PTRACE_ATTACH": (EPERM, ("ptrace", 16)),
    "PTRACE_SEIZE": (EPERM, ("ptrace", 0x4206)),
    "the usual personality": (REACHED, ("personality", 0)),
    "which personality": (REACHED, ("personality", 0xFFFFFFFF)),
    "no randomization": (REACHED, ("personality", 0x40000)),
    "READ_IMPLIES_EXEC": (EPERM, ("personality", 0x400000)),
    "MMAP_PAGE_ZERO": (EPERM, ("personality", 0x100000)),
    "its own pages": (REACHED, ("move_pages", 0)),
    "another's pages": (EPERM, ("move_pages", 1)),
    "its own node": (REACHED, ("migrate_pages", 0)),
    "another's node": (EPERM, ("migrate_pages", 1)),
}
X32, LAST, GAP = 1 << 30, max(NUMBERS.values()), 400
STRANGE: dict[str, tuple[int, int]] = {
    "a call of x32": (ENDED, X32 | NUMBERS["getpid"]),
    "x32's own number": (ENOSYS, 520),
    "one that is newer than all": (ENOSYS, LAST + 100),
    "a number that no call has": (EPERM, GAP),
}
# A Python and the probe, in the user's home: the image has neither, and the node's own /usr is not mounted.
BRING = f"""rm -rf py; mkdir -p py/lib; cat > py/probe.py <<'END'
{Path(probe.__file__).read_text()}
END
version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
from=/usr/lib/$version to=py/lib/$version
mkdir $to; cp -r $from/*.py $from/{{encodings,ctypes,json,re,collections}} $from/lib-dynload/_ctypes.*.so $to
cp /usr/bin/python3 py/; ldd py/python3 $to/_ctypes.*.so | grep -o '/[^ ]* (' | sort -u | while read -r so _; do
cp $so py/lib; done"""
PYTHON = "/py/lib/ld-linux-x86-64.so.2 --library-path /py/lib /py/python3 -S -W ignore"
ASK = f"{PYTHON} /py/probe.py < calls"
DOCKERS = "--network none --cap-drop ALL --security-opt no-new-privileges --user 1001:1001"
KNOWN = """import ctypes, json, sys
number = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name
print(json.dumps([name for name in json.load(sys.stdin) if number(name.encode()) != -1]))"""

Answers = dict[str, int]


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> dict[str, Answers]:
    """What the probe was told in a job's container, in an exec there, and in a container with Docker's own profile."""
    calls: dict[str, list[int]] = {name: [number, 0] for name, number in NUMBERS.items()}
    calls |= {what: [NUMBERS[str(call)], *map(int, words)] for what, (_, (call, *words)) in ARGUMENTS.items()}
    calls |= {what: [number] for what, (_, number) in STRANGE.items()}
    cluster.must(cluster.node, "cat > calls", user="ann", stdin=json.dumps(calls))
    mounted = "-v $PWD/py:/py:ro -e PYTHONHOME=/py"
    done = cluster.srun_each(
        {
            "bring": BRING,
            "run": f"docker run -i --rm {mounted} img {ASK}",
            "exec": f"docker run -d --name asked {mounted} img sleep 600 && docker exec -i asked {ASK}",
        }
    )
    jobs = "docker -H unix:///run/slurm-hooks-docker/docker.sock"
    docker = f"cd /home/ann && {jobs} run -i --rm {DOCKERS} {mounted} img {ASK}; rm -rf py"
    default = cluster.must(cluster.node, docker, timeout=120)
    assert all(said.status == 0 for said in done.values()), done
    outputs = {"run": done["run"].out, "exec": done["exec"].out, "default": default}
    return {who: json.loads(output.splitlines()[-1]) for who, output in outputs.items()}


@pytest.fixture(scope="module")
def resolved(cluster: Cluster) -> set[str]:
    """The calls that the node's libseccomp knows by name. One that it does not know cannot be opened."""
    said = cluster.must(cluster.node, f"/usr/bin/python3 -c '{KNOWN}'", stdin=json.dumps(list(NUMBERS)))
    return set(json.loads(said))


def test_every_call_is_answered_as_the_list_says(asked: dict[str, Answers], resolved: set[str]) -> None:
    wrong = {name: asked["run"][name] for name, answer in EXPECTED.items() if asked["run"][name] != answer}
    assert {name for name in wrong if name in resolved} == set()
    assert set(wrong.values()) <= {EPERM, ENOSYS}, wrong  # too young for the node's libseccomp: closed all the same


@pytest.mark.parametrize("what", ARGUMENTS)
def test_a_call_that_is_open_in_part(asked: dict[str, Answers], what: str) -> None:
    assert asked["run"][what] == ARGUMENTS[what][0]


@pytest.mark.parametrize("what", STRANGE)
def test_a_number_that_is_no_call(asked: dict[str, Answers], what: str) -> None:
    assert asked["run"][what] == STRANGE[what][0]


def test_an_exec_has_the_containers_filter(asked: dict[str, Answers]) -> None:
    assert asked["exec"] == asked["run"]


def test_less_is_open_than_with_dockers_own_profile(asked: dict[str, Answers]) -> None:
    def reached(who: str) -> set[str]:
        in_part = {str(call) for what, (_, (call, *_)) in ARGUMENTS.items() if asked[who][what] == REACHED}
        return in_part | {name for name in NUMBERS if asked[who][name] == REACHED}

    ours, dockers = reached("run"), reached("default")
    print(f"of {len(NUMBERS)} calls: {len(ours)} open here, {len(dockers)} with Docker's own profile")
    print(f"here and not with Docker's: {sorted(ours - dockers)}")
    print(f"with Docker's and not here: {sorted(dockers - ours)}")
    assert ours - dockers <= {*NUMA, "mseal"}
    assert len(ours) < len(dockers)


def test_every_call_open_in_part_is_asked_for_both_ways() -> None:
    for part in IN_PART:
        assert {answer for answer, (call, *_) in ARGUMENTS.values() if call == part.call} == {REACHED, EPERM}

# SPDX-License-Identifier: Apache-2.0
"""Every system call there is, from within a job's container: what knobs/syscalls.py says, the kernel does."""

from __future__ import annotations

import json

import pytest

from slurm_hooks.knobs.syscalls import ABSENT, CLOSED, IN_PART, OPEN
from tests.attacks.calls import (
    ARGUMENTS,
    ASK,
    BRING,
    ENDED,
    ENOSYS,
    EPERM,
    NUMBERS,
    REACHED,
    Answers,
    every_call,
    reached,
)
from tests.cluster.slurm import Cluster

PAST_FILTERS = ("uretprobe", "uprobe")  # from Linux 6.14 on; a process that makes them itself is ended
EXPECTED = {
    **{call: REACHED for group in OPEN for call in group.calls},
    **{call: ENOSYS for group in ABSENT for call in group.calls if call not in PAST_FILTERS},
    **{call: EPERM for group in CLOSED for call in group.calls},
}
NUMA = {"get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "move_pages", "migrate_pages"}
# The profile of Docker 20.10 has them not, that of 26.1 has.
YOUNGER = {"process_vm_readv", "process_vm_writev", "map_shadow_stack", "fchmodat2"}
YOUNGER |= {"pkey_alloc", "pkey_free", "pkey_mprotect"}
X32, LAST, GAP = 1 << 30, max(NUMBERS.values()), 400
STRANGE: dict[str, tuple[int, int]] = {
    "a call of x32": (ENDED, X32 | NUMBERS["getpid"]),
    "x32's own number": (ENOSYS, 520),
    "one that is newer than all": (ENOSYS, LAST + 100),
    "a number that no call has": (EPERM, GAP),
}
DOCKERS = "--network none --cap-drop ALL --security-opt no-new-privileges --user 1001:1001"
KNOWN = """import ctypes, json, sys
number = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name
print(json.dumps([name for name in json.load(sys.stdin) if number(name.encode()) != -1]))"""


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> dict[str, Answers]:
    """What the probe was told in a job's container, in an exec there, and in a container with Docker's own profile."""
    calls = json.loads(every_call()) | {what: [number] for what, (_, number) in STRANGE.items()}
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


def test_less_is_open_than_with_dockers_own_profile(cluster: Cluster, asked: dict[str, Answers]) -> None:
    ours, dockers = reached(asked["run"]), reached(asked["default"])
    print(f"of {len(NUMBERS)} calls: {len(ours)} open here, {len(dockers)} with Docker's own profile")
    print(f"here and not with Docker's: {sorted(ours - dockers)}")
    print(f"with Docker's and not here: {sorted(dockers - ours)}")
    assert ours - dockers <= {*NUMA, "mseal", *(YOUNGER if cluster.docker_release == (20, 10) else ())}
    assert len(ours) < len(dockers)


def test_every_call_open_in_part_is_asked_for_both_ways() -> None:
    for part in IN_PART:
        assert {answer for answer, (call, *_) in ARGUMENTS.values() if call == part.call} == {REACHED, EPERM}

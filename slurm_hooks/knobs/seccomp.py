# SPDX-License-Identifier: Apache-2.0
"""A filter of system calls of our own, always: a list of what is open, stricter than Docker's.

Stops: the calls that most kernel exploits begin with: user namespaces, io_uring, bpf, perf, keyrings, the mount API,
userfaultfd, rare families of sockets; and with them the entries of 32-bit programs, whose calls have other numbers.
The list with its reasons: syscalls.py, and docs/policy.md.
Costs: nothing measurable, as dockerd's own list is as long; 12 KB in each create and in dockerd's record of it.
`gdb -p` and `strace -p`, io_uring, perf, 32-bit programs, and programs that put themselves into namespaces do not work.
Docker: --security-opt seccomp=…; the client's own profile is refused, `unconfined` first of all.
A site may close Unix sockets too (mounts.sockets = "refuse"), so that nothing in a container talks to a service of the
node's through a socket in a bind mount, whenever that was made. Pairs stay, which reach nobody else.

The profile goes to dockerd in full with each create, so neither the daemon's version nor its seccomp-profile setting
decides what a job's container may call. An exec has the container's own. The kernel tells that a filter is there, not
which: what it does is shown by a probe that makes every call (tests/attacks/test_syscalls.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, get_args

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.flags import typed
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.knobs.syscalls import ABSENT, OPEN, UNIX, Argument, Group, Part, in_part
from slurm_hooks.settings import Settings, Sockets

UNIT = "HostConfig.SecurityOpt:seccomp"
NAME = "slurm-hooks"  # what a job sees in the place of the whole profile
ALWAYS = "the node's own filter is always on"
ROWS = (Row(UNIT, "force", ALWAYS, NAME),)
OWNS = owned(ROWS)
ENOSYS, EAFNOSUPPORT = 38, 97
EXACT = 2**64 - 1


def profile(sockets: Sockets, without: Iterable[str] = ()) -> dict[str, Any]:
    """The profile as dockerd reads it (moby profiles/seccomp/seccomp.go, from 20.10 on).

    Args:
        sockets: the site's word for Unix sockets.
        without: calls that are closed beside those of the list.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",  # EPERM: runc's and every daemon's default
        # Native programs alone: what is called in another way is ended (libseccomp's answer to it).
        "archMap": [{"architecture": "SCMP_ARCH_X86_64"}, {"architecture": "SCMP_ARCH_AARCH64"}],
        "syscalls": [
            {"names": [call for call in _names(OPEN) if call not in without], "action": "SCMP_ACT_ALLOW"},
            {"names": _names(ABSENT), "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            *(rule for part in in_part(sockets) for rule in _rules(part)),
            *([NO_UNIX] if sockets == "refuse" else ()),
        ],
    }


def _names(groups: tuple[Group, ...]) -> list[str]:
    return [call for group in groups for call in group.calls]


def _rules(part: Part) -> list[dict[str, Any]]:
    # A rule each: runc would take several values of one argument in one rule for alternatives.
    rule: dict[str, Any] = {"names": [part.call], "action": "SCMP_ACT_ALLOW"}
    if part.since:
        rule["includes"] = {"minKernel": part.since}
    return [{**rule, "args": [_compared(one) for one in arguments]} for arguments in part.rules]


def _compared(argument: Argument) -> dict[str, Any]:
    place, value, mask = argument
    if mask == EXACT:
        return {"index": place, "value": value, "op": "SCMP_CMP_EQ"}
    return {"index": place, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


# As of a kernel without them (socket(2)): syslog(3), getpwnam(3), X11 and Java then take another way, or go without.
NO_UNIX = {
    "names": ["socket"],
    "action": "SCMP_ACT_ERRNO",
    "errnoRet": EAFNOSUPPORT,
    "args": [_compared(Argument(0, UNIX, 2**32 - 1))],
}
# The kernel counts a user namespace's instances on who made it too: runc, and so the node's root, whose own services
# then get no more (kernel/ucount.c, tests/attacks/test_root_inside.py).
OF_MAKER = ("inotify_init", "inotify_init1")


def _sent(sockets: Sockets, without: Iterable[str] = ()) -> str:
    return json.dumps(profile(sockets, without), separators=(",", ":"))


PROFILES = {choice: _sent(choice) for choice in get_args(Sockets)}
ROOT_PROFILES = {choice: _sent(choice, OF_MAKER) for choice in get_args(Sockets)}  # of root that is nobody outside


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if UNIT in units:
        raise Refused(typed(UNIT, units[UNIT]), ALWAYS, "Leave it out.")
    return Confinement({UNIT: (ROOT_PROFILES if job.remapped else PROFILES)[site.mounts.sockets]})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    mode = seen.status["Seccomp"]
    return [] if mode == "2" else [f"seccomp mode is {mode}, not 2 (filter)"]


def check(node: Node) -> Iterable[Finding]:
    said = [option for option in node.info.get("SecurityOptions") or () if option.startswith("name=seccomp")]
    if node.info and not said:
        yield Finding(
            "seccomp", "wrong", "seccomp", "dockerd has no seccomp",
            "no system call is filtered, so each container is ended at its start",
            "Use a kernel with CONFIG_SECCOMP_FILTER and a build of dockerd and runc that has seccomp.",
        )  # fmt: skip
    elif any("profile=unconfined" in option for option in said):
        yield Finding(
            "seccomp-unconfined", "wrong", "seccomp", "dockerd's own seccomp profile is unconfined",
            "a container that brings no profile runs without a filter",
            in_dockerd(node, "seccomp-unconfined"),
        )  # fmt: skip

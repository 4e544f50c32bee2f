# SPDX-License-Identifier: Apache-2.0
"""A system call filter, always.

Stops: the calls that most kernel exploits begin with. Today it is dockerd's
built-in profile, which with no capability denies mount, bpf, kexec, new user
namespaces and some 40 more.
Costs: nothing measurable for programs that make few system calls.
Docker: --security-opt seccomp=…; the client's own profile is refused, `unconfined` first of all.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.contract import JobFacts, Row, Seen, Units, as_asked, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd

ROWS = (Row("HostConfig.SecurityOpt:seccomp", "deny", "the node's own filter is always on"),)
OWNS = owned(ROWS)

confine = as_asked  # none given: dockerd's built-in one; a daemon without it is found by verify


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
            in_dockerd(node, 'no "seccomp-profile" line'),
        )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""AppArmor, where the kernel has it: Docker's own profile, enforced.

Stops: writes to /proc and /sys, mounts, ptrace across the boundary; a second wall behind seccomp.
Costs: nothing measurable.
Docker: --security-opt apparmor=…, label=…, disable; `unconfined` and profiles or labels of the client's choice
are refused.
Without AppArmor in the kernel there is nothing to enforce and nothing to verify.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.contract import JobFacts, Row, Seen, Units, as_asked, owned
from slurm_hooks.knobs.node import Finding, Node

LABELS = "the node chooses the labels of SELinux"
ROWS = (
    Row("HostConfig.SecurityOpt:apparmor", "deny", "the node chooses the profile"),
    Row("HostConfig.SecurityOpt:label", "deny", LABELS),
    Row("HostConfig.SecurityOpt:disable", "deny", LABELS),  # moby's old word for label=disable
)
OWNS = owned(ROWS)
PROFILE = "docker-default"

confine = as_asked  # dockerd gives docker-default where the kernel has AppArmor


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    if seen.lsm != "apparmor" or seen.label == f"{PROFILE} (enforce)":
        return []
    return [f"the AppArmor profile is {seen.label!r}, not {PROFILE} (enforce)"]


def check(node: Node) -> Iterable[Finding]:
    if "apparmor" in node.lsms and node.info and "name=apparmor" not in (node.info.get("SecurityOptions") or ()):
        yield Finding(
            "apparmor", "wrong", "apparmor", "the kernel has AppArmor, and dockerd does not use it",
            f"containers would run without {PROFILE}, so each is ended at its start",
            "Run: apt install apparmor; systemctl restart slurm-hooks-docker (dockerd wants its apparmor_parser).",
        )  # fmt: skip
    if not {"apparmor", "selinux"} & set(node.lsms):
        yield Finding(
            "lsm", "note", "apparmor", "the kernel has neither AppArmor nor SELinux in use",
            "a container that gets past seccomp meets no second wall",
            "Boot with apparmor=1 security=apparmor on the kernel's command line, where the kernel has it.",
        )  # fmt: skip

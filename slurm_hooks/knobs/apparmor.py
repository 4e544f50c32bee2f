# SPDX-License-Identifier: Apache-2.0
"""AppArmor, where the kernel has it: a profile of our own, enforced.

Stops: mounts, writes to /proc and /sys, ptrace and signals across the boundary, raw, packet and odd sockets, user
namespaces, every capability; a second wall behind seccomp and the empty capability sets, and stricter than Docker's.
Costs: nothing measurable.
Docker: --security-opt apparmor=…; `unconfined` and profiles of the client's choice are refused.
Without AppArmor in the kernel there is nothing to enforce and nothing to verify. With it and without the profile no
container starts: dockerd's docker-default lets raw sockets and capabilities pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import NodeFault, Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.flags import typed
from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import Settings

OPTION = "HostConfig.SecurityOpt:apparmor"
PROFILE = "slurm-hooks-container"
FILE = f"/etc/apparmor.d/{PROFILE}"
CHOICE = "the node chooses the profile"
ROWS = (Row(OPTION, "force", f"{CHOICE}, where its kernel has AppArmor", PROFILE),)
OWNS = owned(ROWS)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if units:
        raise Refused(typed(OPTION, units[OPTION]), CHOICE, "Leave it out.")
    if job.lsm != "apparmor":
        return Confinement()
    if PROFILE not in job.profiles:
        raise NodeFault(
            "no container starts on this node", f"its kernel has AppArmor, and not the profile {PROFILE}",
            f"Tell the operators: apparmor_parser --replace {FILE}.",
        )  # fmt: skip
    return Confinement({OPTION: PROFILE})


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
    if "apparmor" in node.lsms and (mode := node.profiles.get(PROFILE, "")) != "enforce":
        yield Finding(
            "apparmor-profile", "wrong", "apparmor",
            f"the AppArmor profile {PROFILE} " + (f"is in {mode} mode" if mode else "is not loaded"),
            "no container starts, and the user is told so",
            f"Run: aa-enforce {FILE}; systemctl reload slurm-hooks-broker." if mode
            else f"Run: apparmor_parser --replace {FILE}.",
        )  # fmt: skip
    if not {"apparmor", "selinux"} & set(node.lsms):
        yield Finding(
            "lsm", "note", "apparmor", "the kernel has neither AppArmor nor SELinux in use",
            "a container that gets past seccomp meets no second wall",
            "Boot with apparmor=1 security=apparmor on the kernel's command line, where the kernel has it.",
        )  # fmt: skip

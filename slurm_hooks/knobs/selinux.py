# SPDX-License-Identifier: Apache-2.0
"""SELinux, where the kernel has it: a type of our own and a level for each job.

Stops: reads and writes of what no job's file is labelled as, whoever owns it; two jobs' containers touching each
other's layers and memory; a second wall behind uid, namespaces and the empty capability sets.
Costs: nothing measurable.
Docker: --security-opt label=…, disable; labels of the client's choice, `disable` first of all, are refused, and so is
-v …:z, which would relabel the user's files.
Without SELinux in the kernel there is nothing to enforce and nothing to verify. With it and without the module of
etc/selinux no container starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt

from slurm_hooks.errors import NodeFault
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

LABEL = "HostConfig.SecurityOpt:label"
TYPE, MODULE = "slurm_container_t", "slurm-hooks"
# Of our own files in a container (broker/etc.py): every container may read it, as it does its image.
OWN_FILE = "system_u:object_r:container_ro_file_t:s0"
FILE = f"/usr/share/slurm-hooks/selinux/{MODULE}.cil"
CHOICE = "the node chooses the labels of SELinux"
ROWS = (
    Row(LABEL, "deny", CHOICE),
    Row("HostConfig.SecurityOpt:disable", "deny", CHOICE),  # moby's old word for label=disable
)
OWNS = owned(ROWS)
PAIRS = 1024 * 1023 // 2  # of two different categories among the policy's c0 to c1023


def level(job: int) -> str:
    """The level of a job's containers: two categories, the same for all of them.

    By its id alone, so nothing is kept. Two jobs of a node have the same only when 523,776 lie between their ids, or a
    multiple of it; then this wall is open between the two, and the others stand.
    """
    number = job % PAIRS
    upper = (1 + isqrt(8 * number + 1)) // 2
    return f"s0:c{number - upper * (upper - 1) // 2},c{upper}"


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if job.lsm != "selinux":
        return Confinement()
    if MODULE not in job.profiles:
        raise NodeFault(
            "no container starts on this node", f"its kernel has SELinux, and its policy not the module {MODULE}",
            f"Tell the operators: semodule --install {FILE}.",
        )  # fmt: skip
    return Confinement({LABEL: (f"type:{TYPE}", f"level:{level(job.id)}")})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    expected = f"{TYPE}:{level(job.id)}"
    if seen.lsm != "selinux" or seen.label.split(":", 2)[2:] == [expected]:
        return []
    return [f"the SELinux label is {seen.label!r}, not …:{expected}"]


def check(node: Node) -> Iterable[Finding]:
    if not node.selinux:
        return
    if MODULE not in node.modules:
        yield Finding(
            "selinux-module", "wrong", "selinux", f"the policy of SELinux has not the module {MODULE}",
            "no container starts, and the user is told so", f"Run: semodule --install {FILE}.",
        )  # fmt: skip
    if node.info and "name=selinux" not in (node.info.get("SecurityOptions") or ()):
        yield Finding(
            "selinux", "wrong", "selinux", "the kernel has SELinux, and dockerd does not use it",
            f"containers would run without {TYPE}, so each is ended at its start",
            in_dockerd(node, "selinux"),
        )  # fmt: skip
    if node.selinux == "permissive":
        yield Finding(
            "selinux-permissive", "weak", "selinux", "SELinux is permissive",
            "it logs what it would deny, and denies nothing: one wall fewer",
            "When the log has no denial of a job's (ausearch -m avc): setenforce 1; and SELINUX=enforcing in "
            "/etc/selinux/config.",
        )  # fmt: skip

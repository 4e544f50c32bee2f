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

from math import isqrt

from slurm_hooks.errors import NodeFault
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, nothing_to_check, owned
from slurm_hooks.settings import Settings

LABEL = "HostConfig.SecurityOpt:label"
TYPE, MODULE = "slurm_container_t", "slurm-hooks"
# Of our own files in a container (broker/passwd.py): every container may read it, as it does its image.
OWN_FILE = "system_u:object_r:container_ro_file_t:s0"
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
            f"Tell the operators: semodule --install /usr/share/slurm-hooks/selinux/{MODULE}.cil.",
        )  # fmt: skip
    return Confinement({LABEL: (f"type:{TYPE}", f"level:{level(job.id)}")})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    expected = f"{TYPE}:{level(job.id)}"
    if seen.lsm != "selinux" or seen.label.split(":", 2)[2:] == [expected]:
        return []
    return [f"the SELinux label is {seen.label!r}, not …:{expected}"]


check = nothing_to_check  # without the module no container starts, and the user is told

# SPDX-License-Identifier: Apache-2.0
"""AppArmor, where the kernel has it: Docker's own profile, enforced.

Stops: writes to /proc and /sys, mounts, ptrace across the boundary; a second wall behind seccomp.
Costs: nothing measurable.
Docker: --security-opt apparmor=…, label=…, disable; `unconfined` and profiles or labels of the client's choice
are refused.
Without AppArmor in the kernel there is nothing to enforce and nothing to verify.
"""

from __future__ import annotations

from slurm_hooks.knobs.contract import JobFacts, Row, Seen, Units, as_asked, owned

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

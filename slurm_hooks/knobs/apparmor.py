# SPDX-License-Identifier: Apache-2.0
"""AppArmor, where the kernel has it: Docker's own profile, enforced.

Stops: writes to /proc and /sys, mounts, ptrace across the boundary; a second wall behind seccomp.
Costs: nothing measurable.
Docker: --security-opt apparmor=…; `unconfined` and profiles of the client's choice are refused.
Without AppArmor in the kernel there is nothing to enforce and nothing to verify.
"""

from __future__ import annotations

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Seen, Units
from slurm_hooks.settings import Settings

UNIT = "HostConfig.SecurityOpt:apparmor"
OWNS = (UNIT,)
PROFILE = "docker-default"


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if UNIT in units:
        raise Refused("--security-opt apparmor", "the node chooses the profile", "Leave it out.")
    return Confinement()  # dockerd gives docker-default where the kernel has AppArmor


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    if seen.lsm != "apparmor" or seen.label == f"{PROFILE} (enforce)":
        return []
    return [f"the AppArmor profile is {seen.label!r}, not {PROFILE} (enforce)"]

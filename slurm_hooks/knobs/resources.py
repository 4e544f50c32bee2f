# SPDX-License-Identifier: Apache-2.0
"""Memory and CPU: a container may bound itself within what Slurm gave the job.

Stops: nothing by itself; the job's cgroup above holds whatever is asked here.
Costs: nothing. Docker: --memory, --memory-swap, --memory-reservation, --cpus, --cpu-shares,
--cpu-quota, --cpu-period. Swap is never more than memory.
"""

from __future__ import annotations

from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Units, nothing_to_see
from slurm_hooks.settings import Settings

MEMORY, SWAP = "HostConfig.Memory", "HostConfig.MemorySwap"
BOUNDS = {
    MEMORY: "--memory",
    "HostConfig.MemoryReservation": "--memory-reservation",
    "HostConfig.NanoCpus": "--cpus",
    "HostConfig.CpuShares": "--cpu-shares",
    "HostConfig.CpuQuota": "--cpu-quota",
    "HostConfig.CpuPeriod": "--cpu-period",
}
OWNS = (SWAP, *BOUNDS)
LARGEST = 2**62  # bytes or nanoseconds; dockerd reads an int64

verify = nothing_to_see


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    fields: dict[str, Any] = {}
    for unit, flag in BOUNDS.items():
        if unit in units:
            if not 0 < units[unit] < LARGEST:
                raise Refused(f"{flag} {units[unit]}", "not a bound", "Give a positive number.")
            fields[unit] = units[unit]
    if SWAP in units and (MEMORY not in units or units[SWAP] != units[MEMORY]):
        raise Refused("--memory-swap", "a container of a job does not swap beyond its memory", "Leave it out.")
    if MEMORY in units:
        fields[SWAP] = units[MEMORY]
    return Confinement(fields)

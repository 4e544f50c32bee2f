# SPDX-License-Identifier: Apache-2.0
"""Memory and CPU: filled from the job where nobody asks; a container may bound itself within them.

Stops: nothing by itself; the job's cgroup above holds whatever is asked here. But a program that asks its own cgroup
how large it may grow, as a JVM does, reads the job's memory there, and not the node's.
Costs: nothing. A wish for more than the job has is held at the job's: workflow engines pass a figure with each task.
CPU is a share, never a quota of ours: a quota as large as the job's processors could only slow it down, where Slurm
gives processors without binding to them it would even take some, and dockerd refuses one above the node's own number.
Docker: --memory, --memory-swap, --memory-reservation, --cpus, --cpu-shares,
--cpu-quota, --cpu-period. Swap is never more than memory. Refused, since a container neither undoes what Slurm
decided nor bounds what is the site's: --oom-score-adj, --oom-kill-disable, --memory-swappiness, --kernel-memory,
--cpuset-cpus, --cpuset-mems, --cpu-rt-period, --cpu-rt-runtime, --blkio-weight, --blkio-weight-device,
--device-read-bps, --device-write-bps, --device-read-iops, --device-write-iops. --shm-size passes up to the job's
memory, which it is charged to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Units, nothing_to_see, owned
from slurm_hooks.knobs.flags import in_bytes
from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import Settings

MEMORY, SWAP = "HostConfig.Memory", "HostConfig.MemorySwap"
SHM = "HostConfig.ShmSize"
RESERVATION, CPUS_ASKED, SHARES = "HostConfig.MemoryReservation", "HostConfig.NanoCpus", "HostConfig.CpuShares"
BOUNDS = {
    MEMORY: "--memory",
    RESERVATION: "--memory-reservation",
    CPUS_ASKED: "--cpus",
    SHARES: "--cpu-shares",
    "HostConfig.CpuQuota": "--cpu-quota",
    "HostConfig.CpuPeriod": "--cpu-period",
}
LARGEST = 2**62  # bytes or nanoseconds; dockerd reads an int64
# Docker's and the kernel's own default (cgroup v1, cpu.shares). It weighs a container beside its job's steps and other
# containers, nobody else. On v2 older runc makes it a weight of 39 to a step's 100, newer runc 100.
USUAL_SHARES = 1024
KILLER = "the kernel ends what outgrows the job's memory"
CPUS = "Slurm chose the job's processors"
DISKS = "bounds of block devices are the site's"
REAL_TIME = "a job's container has no real-time priority"
KERNEL = "kernel memory counts as the job's memory"
WITHIN = "bounds itself within what Slurm gave the job, which holds above it"
FILLED = {
    MEMORY: f"{WITHIN}; no more than the job's own limit is sent, and that where none is asked",
    RESERVATION: f"{WITHIN}; no more than --memory is sent",
    SHARES: f"{WITHIN}; {USUAL_SHARES} where neither it nor --cpus is asked",
}
ROWS = (
    *(Row(unit, "allow", FILLED.get(unit, WITHIN)) for unit in BOUNDS),
    Row(SWAP, "cap", "a container of a job does not swap beyond its memory", "the same as --memory"),
    Row("HostConfig.MemorySwappiness", "deny", "swap is the site's"),
    Row("HostConfig.KernelMemory", "deny", KERNEL, todo="Use --memory."),
    Row("HostConfig.KernelMemoryTCP", "deny", KERNEL, todo="Use --memory."),
    Row("HostConfig.OomScoreAdj", "deny", KILLER),
    Row("HostConfig.OomKillDisable", "deny", KILLER),
    Row("HostConfig.CpusetCpus", "deny", CPUS, todo="Ask for them with srun's or sbatch's options."),
    Row("HostConfig.CpusetMems", "deny", CPUS, todo="Ask for them with srun's or sbatch's options."),
    Row("HostConfig.CpuRealtimePeriod", "deny", REAL_TIME),
    Row("HostConfig.CpuRealtimeRuntime", "deny", REAL_TIME),
    Row("HostConfig.BlkioWeight", "deny", DISKS),
    Row("HostConfig.BlkioWeightDevice", "deny", DISKS),
    Row("HostConfig.BlkioDeviceReadBps", "deny", DISKS),
    Row("HostConfig.BlkioDeviceWriteBps", "deny", DISKS),
    Row("HostConfig.BlkioDeviceReadIOps", "deny", DISKS),
    Row("HostConfig.BlkioDeviceWriteIOps", "deny", DISKS),
    Row(SHM, "cap", "/dev/shm is memory of the job", "the job's memory; 64 MiB unless asked"),
)
OWNS = owned(ROWS)

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
    if memory := min(filter(None, (units.get(MEMORY), job.memory)), default=0):
        fields[MEMORY] = fields[SWAP] = memory
        if RESERVATION in fields:  # above its memory dockerd would refuse it
            fields[RESERVATION] = min(fields[RESERVATION], memory)
    if SHM in units:
        if not 0 < units[SHM] <= (job.memory or LARGEST):
            raise Refused(
                f"--shm-size {in_bytes(units[SHM])}", f"the job has {in_bytes(job.memory)} of memory", "Ask for less."
            )
        fields[SHM] = units[SHM]
    if CPUS_ASKED not in units:
        fields.setdefault(SHARES, USUAL_SHARES)
    return Confinement(fields)


def check(node: Node) -> Iterable[Finding]:
    if not node.info.get("MemoryLimit", True):
        yield Finding(
            "memory-controller", "wrong", "resources", "dockerd sees no memory controller",
            "what Slurm gave a job in memory does not hold for its containers",
            "Boot with cgroup_enable=memory on the kernel's command line.",
        )  # fmt: skip


def unasked(warning: str, asked: Units) -> bool:
    """Is it dockerd's complaint that this kernel cannot keep a bound which we filled in and nobody asked for?

    The job's own bounds hold without it. moby words them "Your kernel does not support swap limit capabilities …".
    """
    if "kernel does not support" not in warning:
        return False
    about = {"memory limit": MEMORY, "swap limit": MEMORY, "CPU shares": SHARES, "CPU share": SHARES}
    return any(words in warning and unit not in asked for words, unit in about.items())

# SPDX-License-Identifier: Apache-2.0
"""Memory and CPU: a container may bound itself within what Slurm gave the job.

Stops: nothing by itself; the job's cgroup above holds whatever is asked here.
Costs: nothing. Docker: --memory, --memory-swap, --memory-reservation, --cpus, --cpu-shares,
--cpu-quota, --cpu-period. Swap is never more than memory. Refused, since a container neither undoes what Slurm
decided nor bounds what is the site's: --oom-score-adj, --oom-kill-disable, --memory-swappiness, --kernel-memory,
--cpuset-cpus, --cpuset-mems, --cpu-rt-period, --cpu-rt-runtime, --blkio-weight, --blkio-weight-device,
--device-read-bps, --device-write-bps, --device-read-iops, --device-write-iops; and, so far, --ulimit, --shm-size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Units, nothing_to_see, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
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
LARGEST = 2**62  # bytes or nanoseconds; dockerd reads an int64
KILLER = "the kernel ends what outgrows the job's memory"
CPUS = "Slurm chose the job's processors"
DISKS = "bounds of block devices are the site's"
REAL_TIME = "a job's container has no real-time priority"
KERNEL = "kernel memory counts as the job's memory"
ROWS = (
    *(Row(unit, "allow", "bounds itself within what Slurm gave the job, which holds above it") for unit in BOUNDS),
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
    Row("HostConfig.Ulimits", "deny", "the container has the node's own limits", todo="Use ulimit in the container."),
    Row("HostConfig.ShmSize", "deny", "/dev/shm has 64 MiB", todo="Mount a larger one: --tmpfs /shm:size=1g."),
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
    if MEMORY in units:
        fields[SWAP] = units[MEMORY]
    return Confinement(fields)


def check(node: Node) -> Iterable[Finding]:
    if not node.info.get("MemoryLimit", True):
        yield Finding(
            "memory-controller", "wrong", "resources", "dockerd sees no memory controller",
            "what Slurm gave a job in memory does not hold for its containers",
            "Boot with cgroup_enable=memory on the kernel's command line.",
        )  # fmt: skip
    if node.dockerd.options and not node.dockerd.options.get("default-ulimits"):
        yield Finding(
            "default-ulimits", "weak", "resources", "containers have dockerd's own limit of open files",
            "it is a million or more: programs that close each descriptor that there may be take minutes to start",
            in_dockerd(node, '"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 16384}}'),
        )  # fmt: skip

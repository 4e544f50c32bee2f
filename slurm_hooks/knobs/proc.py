# SPDX-License-Identifier: Apache-2.0
"""What of /proc and /sys is masked or read-only inside: moby's newest lists, whatever this dockerd would send.

Stops: reading the node's keys, timers, power meters (side channels); writing sysctls.
Costs: a few tools show less. Docker: --security-opt systempaths=unconfined, refused.
Source: moby daemon/pkg/oci/defaults.go of v28.5; runc passes over paths that the kernel lacks.
"""

from __future__ import annotations

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, nothing_to_check, owned
from slurm_hooks.settings import Settings

MASKED, READONLY = "HostConfig.MaskedPaths", "HostConfig.ReadonlyPaths"
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
STAY = "/proc and /sys stay masked"
ROWS = (
    Row(MASKED, "force", STAY, " ".join(MASKED_PATHS)),
    Row(READONLY, "force", STAY, " ".join(READONLY_PATHS)),
)
OWNS = owned(ROWS)

check = nothing_to_check


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if MASKED in units or READONLY in units:
        raise Refused("--security-opt systempaths=unconfined", STAY, "Leave it out.")
    return Confinement({MASKED: list(MASKED_PATHS), READONLY: list(READONLY_PATHS)})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    # /proc/sys stands for both lists: every kernel has it, and runc remounts it read-only in the same pass.
    under = [mount for mount in seen.mounts if mount.point == "/proc/sys"]
    return [] if under and "ro" in under[-1].options.split(",") else ["/proc/sys is not read-only"]

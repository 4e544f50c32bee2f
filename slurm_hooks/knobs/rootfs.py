# SPDX-License-Identifier: Apache-2.0
"""The image is read-only; /tmp, /var/tmp and /run are tmpfs, charged to the job's memory.

Stops: a container that fills the node's disk through its writable layer.
Costs: programs that write elsewhere in the image fail; give them a bind mount or --tmpfs.
Docker: --read-only, --tmpfs. A site may open it (container.readonly_root).
"""

from __future__ import annotations

import re

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Seen, Units
from slurm_hooks.settings import Settings

READONLY, TMPFS = "HostConfig.ReadonlyRootfs", "HostConfig.Tmpfs"
OWNS = (READONLY, TMPFS)
SCRATCH = ("/tmp", "/var/tmp", "/run")
ALWAYS = "rw,nosuid,nodev"
OPTION = re.compile(r"rw|nosuid|nodev|exec|noexec|size=[0-9]+[kKmMgG]?|mode=[0-7]{3,4}")
TARGET = re.compile(r"/[^:\0]*")


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    tmpfs = {}
    for target, options in units.get(TMPFS, {}).items():
        if not TARGET.fullmatch(target):
            raise Refused(f"--tmpfs {target}", "not an absolute path")
        for option in filter(None, options.split(",")):
            if not OPTION.fullmatch(option):
                raise Refused(
                    f"--tmpfs {target}:{option}", "only size=, mode=, exec and noexec are open", "Leave it out."
                )
        tmpfs[target] = ",".join(filter(None, (options, ALWAYS)))
    readonly = site.container.readonly_root or bool(units.get(READONLY))
    return Confinement({READONLY: readonly, TMPFS: tmpfs})


def scratch(taken: set[str]) -> dict[str, str]:
    """The writable places of a read-only image, but those where the user mounts something."""
    return {path: f"{ALWAYS},exec,mode=1777" for path in SCRATCH if path not in taken}


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    root = next((mount for mount in reversed(seen.mounts) if mount.point == "/"), None)
    if asked[READONLY] and (root is None or "ro" not in root.options.split(",")):
        return ["its root is writable"]
    return []

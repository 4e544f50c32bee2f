# SPDX-License-Identifier: Apache-2.0
"""The image is read-only; /tmp, /var/tmp, /run and the image's own VOLUMEs are tmpfs, charged to the job's memory.

Stops: a container that fills the node's disk through its writable layer or an anonymous volume.
Costs: programs that write elsewhere in the image fail; give them a bind mount or --tmpfs.
Docker: --read-only, --tmpfs, --storage-opt. A site may open it (container.readonly_root).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, nothing_to_check, owned
from slurm_hooks.knobs.mounts import OWN_PLACES, target_of
from slurm_hooks.settings import Settings

READONLY, TMPFS = "HostConfig.ReadonlyRootfs", "HostConfig.Tmpfs"
SCRATCH = ("/tmp", "/var/tmp", "/run")
ROWS = (
    Row(READONLY, "force", "no layer that could fill the node's disk", "true", switch="container.readonly_root"),
    Row(TMPFS, "allow", "with size=, mode=, exec and noexec; nosuid and nodev always; within the job's memory"),
    *(Row(f"{TMPFS}:{at}", "deny", OWN_PLACES, todo="Choose another target.") for at in ("/proc", "/sys", "/dev")),
    Row(
        "HostConfig.StorageOpt", "deny", "images and layers lie as the node keeps them", todo="Write to -v or --tmpfs."
    ),
)
OWNS = owned(ROWS)

check = nothing_to_check
ALWAYS = "rw,nosuid,nodev"
OPTION = re.compile(r"rw|nosuid|nodev|exec|noexec|size=[0-9]+[kKmMgG]?|mode=[0-7]{3,4}")


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    tmpfs = {}
    for target, options in units.get(TMPFS, {}).items():
        place = target_of(f"--tmpfs {target}", target)
        if place in tmpfs:
            raise Refused(f"--tmpfs {target}", "two mounts at one place", "Leave one out.")
        for option in filter(None, options.split(",")):
            if not OPTION.fullmatch(option):
                raise Refused(
                    f"--tmpfs {target}:{option}", "only size=, mode=, exec and noexec are open", "Leave it out."
                )
        tmpfs[place] = ",".join(filter(None, (options, ALWAYS)))
    readonly = site.container.readonly_root or bool(units.get(READONLY))
    return Confinement({READONLY: readonly, TMPFS: tmpfs})


def scratch(taken: set[str], volumes: Iterable[str], *, readonly: bool) -> dict[str, str]:
    """The writable places: of a read-only image, and of its VOLUMEs; not where the user mounts something."""
    places = [*(SCRATCH if readonly else ()), *("/" + posixpath.normpath(volume).lstrip("/") for volume in volumes)]
    return {place: f"{ALWAYS},exec,mode=1777" for place in places if place not in taken}


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    root = next((mount for mount in reversed(seen.mounts) if mount.point == "/"), None)
    if asked[READONLY] and (root is None or "ro" not in root.options.split(",")):
        return ["its root is writable"]
    return []

# SPDX-License-Identifier: Apache-2.0
"""The GPUs that Slurm gave the job, and no other device of the node.

Stops: disks, GPUs of others and kernel interfaces that the job was not given. On cgroup v2 this knob is the only guard:
runc's own device program replaces Slurm's for a container. Which they are the Prolog was told by slurmd, by number; a
name that means another device since then is seen in the read-back.
Costs: no other GRES, since Slurm tells a Prolog of GPUs alone.
Docker: --device, --gpus, --device-cgroup-rule. --gpus becomes device nodes here: dockerd would call the vendor's hook,
as root, for it. Its ids count within the job's own GPUs, from 0, as CUDA does. Libraries are the user's or the site's
mounts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, nothing_to_check, owned
from slurm_hooks.knobs.flags import typed
from slurm_hooks.settings import Settings

DEVICES, REQUESTS = "HostConfig.Devices", "HostConfig.DeviceRequests"
GIVEN = "the job's GPUs"
OWN_WAY = "Use the device from the job script itself."
ASK = "Ask Slurm for it: --gres=gpu:N."
ROWS = (
    Row(
        DEVICES,
        "cap",
        "of the node's devices the job has those that Slurm gave it; to read and write, not mknod",
        GIVEN,
    ),
    Row(
        REQUESTS, "cap", "sent as --device; a count takes the first ones, ids count within the job's own from 0", GIVEN
    ),
    Row("HostConfig.DeviceCgroupRules", "deny", "a job's container has no other device of the node", todo=OWN_WAY),
)
OWNS = owned(ROWS)

check = nothing_to_check

# A new name below /dev: runc makes the node there, as root, in a tmpfs of the container's own.
TARGET = re.compile(r"/dev/([A-Za-z0-9][A-Za-z0-9._-]*)(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
# What runc itself puts into /dev (libcontainer, specconv.AllowedDevices), with /dev/console where there is a terminal.
USUAL = {
    "null": "c 1:3", "zero": "c 1:5", "full": "c 1:7", "random": "c 1:8", "urandom": "c 1:9", "tty": "c 5:0",
    "ptmx": "c 5:2", "console": "c 136:",
}  # fmt: skip
TAKEN = {*USUAL, "core", "fd", "mqueue", "pts", "shm", "stderr", "stdin", "stdout"}
KEYS = {"PathOnHost", "PathInContainer", "CgroupPermissions"}
REQUEST_KEYS = {"Driver", "Count", "DeviceIDs", "Capabilities", "Options"}


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if job.gpus is None:  # told beforehand: what Slurm will give nobody knows
        return Confinement()
    wanted: dict[str, tuple[str, str]] = {}  # place in the container → (node, rights)
    for what, node, place, rights in (*_devices(units, job), *_gpus(units, job)):
        if wanted.setdefault(place, (node, rights)) != (node, rights):
            raise Refused(what, f"two devices at {place}", "Leave one out.")
    if wanted:
        for node in job.with_gpu:
            wanted.setdefault(node, (node, "rw"))
    entries = [
        {"PathOnHost": node, "PathInContainer": place, "CgroupPermissions": rights}
        for place, (node, rights) in wanted.items()
    ]
    return Confinement({DEVICES: entries} if entries else {})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    numbers = {node: number for nodes in (*(job.gpus or ()), job.with_gpu) for node, number in nodes.items()}
    expected = {entry["PathInContainer"]: numbers.get(entry["PathOnHost"], "") for entry in asked.get(DEVICES, ())}
    wrong = [f"{path} is not there" for path in expected if path not in seen.devices]
    for path, number in seen.devices.items():
        usual = USUAL.get(path.removeprefix("/dev/"), "")
        if number != expected.get(path, usual) and not (usual.endswith(":") and number.startswith(usual)):
            wrong.append(f"{path} is the device {number}, not {expected.get(path, usual) or 'of the job'}")
    return wrong


Wish = tuple[str, str, str, str]  # what was typed, the node, its place in the container, rights


def _devices(units: Units, job: JobFacts) -> Iterator[Wish]:
    mine = {node for nodes in job.gpus or () for node in nodes}
    for entry in units.get(DEVICES, ()):
        what = typed(DEVICES, [entry])
        if not (isinstance(entry, dict) and entry.keys() <= KEYS and all(isinstance(v, str) for v in entry.values())):
            raise Refused(what, "not a device", "Write --device PATH[:TARGET[:rw]].")
        node, rights = entry.get("PathOnHost", ""), entry.get("CgroupPermissions") or "rw"
        if node not in mine and not (mine and node in job.with_gpu):
            raise Refused(what, _given(job), f"{ASK} {OWN_WAY}")
        place = entry.get("PathInContainer") or node
        name = TARGET.fullmatch(place)
        if not name or name[1] in TAKEN:
            raise Refused(f"{what}:{place}", "its place is a free name below /dev", f"Write --device {node}.")
        granted = "".join(right for right in "rw" if right in rights)
        if not granted or set(rights) - set("rwm"):
            raise Refused(f"{what}:{place}:{rights}", "a device is open to read and write", "Write r, w or rw.")
        yield what, node, place, granted


def _gpus(units: Units, job: JobFacts) -> Iterator[Wish]:
    gpus = job.gpus or ()
    for request in units.get(REQUESTS, ()):
        what = typed(REQUESTS, [request])
        for gpu in _chosen(what, request, len(gpus), _given(job)):
            yield from ((what, node, node, "rw") for node in gpus[gpu])


def _chosen(what: str, request: Any, number: int, given: str) -> Iterable[int]:
    """Which of the job's GPUs a moby DeviceRequest names, by their place among them. Raises Refused."""
    if not isinstance(request, dict) or not request.keys() <= REQUEST_KEYS:
        raise Refused(what, "not a request for GPUs", "Write --gpus all.")
    kinds, ids, count = (request.get(key) or () for key in ("Capabilities", "DeviceIDs", "Count"))
    if request.get("Driver") not in (None, "", "nvidia") or request.get("Options"):
        raise Refused(what, "no driver of the node's is asked for devices", "Write --gpus all, or --device PATH.")
    if not isinstance(kinds, list) or not any(isinstance(kind, list) and "gpu" in kind for kind in kinds):
        raise Refused(what, "only GPUs can be asked for", "Write --gpus all.")
    if (ids and count) or (ids and not isinstance(ids, list)) or (count and not isinstance(count, int)):
        raise Refused(what, "neither a count nor a list of ids", "Write --gpus all.")
    if not number or (count and count > number):
        raise Refused(what, given, ASK)
    if not ids:
        return range(number if count and count < 0 else count or 0)
    for one in ids:
        if not (isinstance(one, str) and one.isascii() and one.isdigit() and int(one) < number):
            raise Refused(what, f"the ids of this job's GPUs are 0 to {number - 1}", "Write --gpus all.")
    return [int(one) for one in ids]


def _given(job: JobFacts) -> str:
    mine = [node for nodes in job.gpus or () for node in nodes]
    return (
        f"this job was given {', '.join(mine)}" if mine else "this job was given no GPU, and no other device is offered"
    )

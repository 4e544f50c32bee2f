# SPDX-License-Identifier: Apache-2.0
"""Trust, then verify: what the kernel says of a container that dockerd has started."""

from __future__ import annotations

import asyncio
import glob
import os
import re
import select
import socket
import sys
import time
from typing import Any

from slurm_hooks import cgroups, devnodes, linux
from slurm_hooks.knobs import ulimits
from slurm_hooks.knobs.contract import Links, Seen

SELINUX_STORES = "/var/lib/selinux"
NAMESPACES = ("pid", "net", "ipc", "mnt", "uts", "user")


def lsm() -> str:
    """The security module that confines processes here: apparmor, selinux, or "" for none."""
    if os.path.isdir("/sys/module/apparmor") and _read("/sys/module/apparmor/parameters/enabled") == "Y":
        return "apparmor"
    return "selinux" if os.path.exists("/sys/fs/selinux/enforce") else ""


def profiles(module: str) -> frozenset[str]:
    """The profiles of AppArmor that are loaded and enforced; the modules in SELinux's policy (selinux_config(5)).

    semodule(8) keeps a module that is disabled, and writes its name below disabled/.

    Args:
        module: as lsm.
    """
    match module:
        case "apparmor":
            return frozenset(name for name, mode in apparmor().items() if mode == "enforce")
        case "selinux":
            policy = re.search(r"^SELINUXTYPE=(\w+)", _read("/etc/selinux/config"), re.MULTILINE)
            store = f"{SELINUX_STORES}/{policy[1] if policy else ''}/active/modules"
            on, off = (
                {os.path.basename(path) for path in glob.glob(f"{store}/{of}/*")} for of in ("[0-9]*", "disabled")
            )
            return frozenset(on - off)
    return frozenset()


def apparmor() -> dict[str, str]:
    """The profiles of AppArmor that are loaded → enforce, complain, kill, …; for root."""
    lines = _read("/sys/kernel/security/apparmor/profiles").splitlines()
    return {name: mode.rstrip(")") for name, _, mode in (line.rpartition(" (") for line in lines)}


INIT = "runc:[2:INIT]"  # runc's name for itself until the container's own program takes its place
EXEC_SECONDS = 2.0


async def own_program(pid: int) -> None:
    """Wait until the process is the container's own program.

    dockerd answers a start when runc's init was told to go on; what is bound to exec(2), seccomp and the LSM's
    label, comes an instant later. A program that takes runc's name makes us wait, and is then judged as it is.
    """
    deadline = time.monotonic() + EXEC_SECONDS
    while _read(f"/proc/{pid}/comm") == INIT and time.monotonic() < deadline:
        await asyncio.sleep(0.001)


def look(pid: int, version: int, staged: dict[str, str]) -> Seen | None:
    """The facts of a container's first process; None where it ended meanwhile.

    Args:
        version: of the cgroup hierarchy.
        staged: target → staged path.
    """
    try:
        pidfd = linux.pidfd_of(pid)
    except ProcessLookupError:
        return None
    try:
        status = linux.status_of(pid)
        mounts = tuple(linux.mounts_of(pid))
        if not mounts:
            raise ProcessLookupError(pid)
        path = cgroup_of(pid, version)
        hierarchy = f"{cgroups.MOUNT}/pids" if version == 1 else cgroups.MOUNT
        on_host = {mount.point: mount for mount in linux.mounts_of(1)} if staged else {}
        seen = Seen(
            pid=pid,
            status=status,
            cgroup=path,
            pids_max=linux.read(f"{hierarchy}{path}/pids.max").strip(),
            namespaces={name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES},
            host_namespaces={name: os.readlink(f"/proc/1/ns/{name}") for name in NAMESPACES},
            label=_read(f"/proc/{pid}/attr/current"),
            lsm=lsm(),
            mounts=mounts,
            staged={target: on_host[path] for target, path in staged.items() if path in on_host},
            limits=ulimits.parsed(linux.read(f"/proc/{pid}/limits")),
            devices=devnodes.of_process(pid),
            id_maps=(linux.read(f"/proc/{pid}/uid_map"), linux.read(f"/proc/{pid}/gid_map")),
            links=links(f"/proc/{pid}/net"),
        )
        # Read by number, so only now it is known that all of it was this process's. A task of cgroup v1 that is
        # exiting is shown at "/" well before its pidfd tells.
        return None if _ends(pidfd, within=1.0 if path == "/" else 0) else seen
    except OSError:
        # A process that is about to end has no namespaces and no mounts any more: its exit follows at once.
        if _ends(pidfd, within=1.0):
            return None
        raise
    finally:
        os.close(pidfd)


def cgroup_of(pid: int, version: int) -> str:
    """A process's cgroup; of the pids hierarchy on v1. Raises OSError."""
    lines = linux.cgroup_lines(linux.read(f"/proc/{pid}/cgroup"))
    return lines.get("pids" if version == 1 else "", "")


def links(net: str) -> Links:
    """The network of a process, by its /proc/<pid>/net. Raises OSError."""
    devices = linux.read(f"{net}/dev").splitlines()[2:]
    routes = (line.split() for line in linux.read(f"{net}/route").splitlines()[1:])
    return Links(
        interfaces=frozenset(line.partition(":")[0].strip() for line in devices),
        routes=tuple((row[0], _dotted(row[1]), _dotted(row[2]), _dotted(row[7])) for row in routes),
        ipv6=frozenset(line.split()[-1] for line in _lines(f"{net}/if_inet6")),
    )


def _dotted(text: str) -> str:
    """An address that the kernel prints as a number of its own byte order (fib_route_seq_show)."""
    return socket.inet_ntoa(int(text, 16).to_bytes(4, sys.byteorder))


def _lines(path: str) -> list[str]:
    """None where the kernel has no IPv6. Raises OSError."""
    try:
        return linux.read(path).splitlines()
    except FileNotFoundError:
        return []


def _ends(pidfd: int, *, within: float) -> bool:
    """Has the process exited, or does it within some seconds? A pidfd is readable then (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(within * 1000))


def _read(path: str) -> str:
    try:
        return linux.read(path).strip().rstrip("\0")
    except OSError:
        return ""


def configured(inspected: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """For a container that ended before it could be looked at: what dockerd's own record of it says."""
    host = inspected.get("HostConfig", {})
    return [
        f"{unit} was {host.get(name)!r}, not {value!r}"
        for unit, value in asked.items()
        if (name := unit.removeprefix("HostConfig."))
        in ("CgroupParent", "PidsLimit", "NetworkMode", "CapDrop", "UsernsMode")
        and host.get(name) != value
    ]

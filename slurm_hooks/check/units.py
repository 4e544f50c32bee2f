# SPDX-License-Identifier: Apache-2.0
"""Our units: are they on, as hardened as they were shipped, and do they see what they must of the node's mounts. Pure.

Source of facts: `systemctl show`, which has drop-ins counted in; /proc/<pid>/mountinfo. A property that an older
systemd does not know is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slurm_hooks.knobs.node import BROKER, Finding, Node, View
from slurm_hooks.settings import Docker

DOCKERD = "slurm-hooks-docker.service"
SWEEP, TIMER = "slurm-hooks-sweep.service", "slurm-hooks-sweep.timer"
CAPABILITIES = (
    "cap_sys_admin", "cap_sys_chroot", "cap_sys_ptrace", "cap_setuid", "cap_setgid", "cap_kill", "cap_dac_read_search",
)  # fmt: skip
# What stops the broker's work: docs/operators.md, "The broker's unit, and its upgrade".
NEEDED = {
    "RestrictSUIDSGID": ("no", "openat2(2) then answers ENOSYS, and every -v is refused"),
    "PrivateUsers": ("no", "peers and sources are told by the node's uids"),
    "PrivatePIDs": ("no", "peers are told by the node's pids"),
    "ProtectControlGroups": ("no", "the broker holds steps to the job's figure"),
    "ProcSubset": ("all", "peers are read in /proc"),
}
SHIPPED = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateNetwork": "yes",
    "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes", "ProtectClock": "yes", "ProtectHostname": "yes", "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes", "RestrictRealtime": "yes", "RestrictAddressFamilies": "AF_UNIX",
}  # fmt: skip
# Any of these gives a unit mounts or a network of its own.
APART = {
    "PrivateTmp": "no", "PrivateMounts": "no", "PrivateNetwork": "no", "PrivateDevices": "no", "ProtectSystem": "no",
    "ProtectHome": "no", "ProtectKernelTunables": "no", "ProtectControlGroups": "no",
}  # fmt: skip
PROPERTIES = (
    "Id", "LoadState", "ActiveState", "UnitFileState", "FragmentPath", "DropInPaths", "KillMode", "SystemCallFilter",
    "CapabilityBoundingSet", "RestrictNamespaces", *NEEDED, *SHIPPED, *APART,
)  # fmt: skip


def check(node: Node) -> Iterable[Finding]:
    """Units and the processes behind them."""
    if not node.broker:
        yield Finding(
            "broker-away", "wrong", "units", "the broker takes no connections", "no job gets a container",
            "Run: systemctl start slurm-hooks-broker; journalctl -u slurm-hooks-broker -n 50.",
        )  # fmt: skip
    if node.units:
        yield from _enabled(node)
        yield from _broker(node.units.get(BROKER, {}), has_root_inside=node.site.has_root_inside)
        yield from _others(node)
    yield from _mounts(node)


def _enabled(node: Node) -> Iterable[Finding]:
    shared = node.site.docker.socket != Docker().socket  # then its unit is the site's
    for unit in (BROKER,) if shared else (DOCKERD, BROKER):
        if node.units.get(unit, {}).get("UnitFileState") in ("disabled", "masked"):
            yield Finding(
                "unit-disabled", "weak", "units", f"{unit} is not enabled",
                "after a reboot no job gets a container", f"Run: systemctl enable {unit}.",
            )  # fmt: skip
    if node.units.get(TIMER, {}).get("UnitFileState") != "enabled":
        yield Finding(
            "sweep-timer", "weak", "units", "the sweep's timer is not enabled",
            "what a job leaves whose Epilog never ran stays (a reboot, a slurmd that was killed)",
            f"Run: systemctl enable --now {TIMER}.",
        )  # fmt: skip


def _broker(unit: Mapping[str, str], *, has_root_inside: bool) -> Iterable[Finding]:
    if unit.get("LoadState") != "loaded":
        return  # somebody starts it in another way
    has = set(unit.get("CapabilityBoundingSet", " ".join(CAPABILITIES)).lower().split())
    stopped = [(f"{name}={unit[name]}", why) for name, (want, why) in NEEDED.items() if unit.get(name, want) != want]
    stopped += [(f"no {name.upper()}", "the unit says what each is for") for name in CAPABILITIES if name not in has]
    if (kinds := unit.get("RestrictNamespaces", "mnt")) != "no" and "mnt" not in kinds.split():
        stopped.append((f"RestrictNamespaces={kinds}", "the helper enters mount namespaces"))
    for what, why in stopped:
        yield Finding("unit-breaks", "wrong", "units", f"a drop-in of {BROKER} says {what}", why, _drop_in(BROKER))
    softer = [f"{name}={unit[name]}" for name, want in SHIPPED.items() if unit.get(name, want) != want]
    softer += [name.upper() for name in sorted(has) if name not in CAPABILITIES]
    softer += [] if unit.get("SystemCallFilter", "@system-service") else ["no SystemCallFilter"]
    shipped = {"mnt", "user"} if has_root_inside else {"mnt"}  # knobs/userns.py asks for the second
    more = "mnt" in kinds.split() and set(kinds.split()) - shipped
    softer += [f"RestrictNamespaces={kinds}"] if kinds == "no" or more else []
    if softer:
        yield Finding(
            "unit-softened", "weak", "units", f"{BROKER} has {', '.join(softer)}",
            "it is root, and users speak to it: a hole in it would then be worth more", _drop_in(BROKER),
        )  # fmt: skip


def _others(node: Node) -> Iterable[Finding]:
    unit = node.units.get(DOCKERD, {})
    if unit.get("LoadState") == "loaded" and unit.get("KillMode", "process") != "process":
        yield Finding(
            "unit-kills", "weak", "units", f"KillMode of {DOCKERD} is {unit['KillMode']}",
            "a stop of dockerd ends the shims, and so the jobs' containers", _drop_in(DOCKERD),
        )  # fmt: skip
    sweep = node.units.get(SWEEP, {})
    if apart := [f"{name}={sweep[name]}" for name, want in APART.items() if sweep.get(name, want) != want]:
        yield Finding(
            "unit-sweep", "wrong", "units", f"a drop-in of {SWEEP} says {', '.join(apart)}",
            "it unmounts and asks slurmctld as the Epilog does: in the node's own namespaces", _drop_in(SWEEP),
        )  # fmt: skip


def _mounts(node: Node) -> Iterable[Finding]:
    """Stages are mounted in the node's namespace (pid 1's), and layers and roots are dockerd's."""
    here = View(own=False, hears=True)
    if not node.sees_images:
        yield Finding(
            "broker-blind", "wrong", "units", f"the broker does not see {node.site.docker.data_root}",
            "the links of images cannot be followed there, so no container starts",
            f"{_drop_in(BROKER)} If the directory lies in /home: ProtectHome=read-only.",
        )  # fmt: skip
    elif not node.views.get("broker", here).hears:
        yield Finding(
            "broker-deaf", "weak", "units", "mounts that come to the node later do not come to the broker",
            "where dockerd's data root is mounted after it, the broker looks at an empty directory",
            f"{_drop_in(BROKER)} Then run: systemctl restart slurm-hooks-broker.",
        )  # fmt: skip
    view = node.views.get("dockerd", here)
    if not view.hears:
        yield Finding(
            "dockerd-deaf", "wrong", "units", "mounts that come to the node do not come to dockerd",
            "it never sees what was staged for -v: each container that mounts something is ended", _drop_in(DOCKERD),
        )  # fmt: skip
    elif view.own:
        yield Finding(
            "dockerd-apart", "weak", "units", "dockerd has a mount namespace of its own",
            "roots that it leaves mounted are not the Epilog's to see, nor to unmount", _drop_in(DOCKERD),
        )  # fmt: skip
    if node.views.get("slurmd", here).own:
        yield Finding(
            "slurmd-apart", "wrong", "units", "slurmd has a mount namespace of its own",
            "the Epilog runs in it, and unmounts nothing of what the broker has staged on the node",
            _drop_in("slurmd.service"),
        )  # fmt: skip


def _drop_in(unit: str) -> str:
    return f"Run: systemctl cat {unit}; take the line out of the drop-in; systemctl daemon-reload; restart it."

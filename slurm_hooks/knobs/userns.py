# SPDX-License-Identifier: Apache-2.0
"""The user namespace: the node's own for everyone, but for root that is nobody outside.

Stops: root inside that is root on the node. With container.root = "remap" and a dockerd with userns-remap, root in a
container of `--user 0` is an unprivileged uid outside, which no other process of the node has, and it has no
capability inside either. Its bind mounts are idmapped (mount_setattr(2)), so its files there are the job's user's.
Costs: all root containers of a node are one uid outside: namespaces and the system call filter part them, and not their
uid. The filter has no inotify for them: the kernel counts a user namespace's instances on who made it, the node's root.
The user's other groups are not there. Images are kept a second time, below another data root, with other owners.
Docker: --userns; userns-remap of the daemon. All other containers are told to be in the node's own, on any daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Remap, Row, Seen, Units, owned
from slurm_hooks.knobs.identity import ROOT
from slurm_hooks.knobs.node import BROKER, Finding, Node, in_dockerds_file
from slurm_hooks.settings import Settings

MODE = "HostConfig.UsernsMode"
ROWS = (Row(MODE, "force", "the job's user is himself; root of container.root is remapped", "host"),)
OWNS = owned(ROWS)
LOWEST = 65_536  # below it lie the node's own users and nobody (65534), whatever login.defs(5) says


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if units.get(MODE):
        raise Refused(f"--userns={units[MODE]}", "whose users a container has is not the job's to choose",
                      "Leave --userns out.")  # fmt: skip
    return Confinement({MODE: "" if job.remapped else "host"})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    own = seen.namespaces["user"] != seen.host_namespaces["user"]
    if asked.get("User") != ROOT:
        return ["it is in a user namespace of its own"] if own else []
    if not own or job.remapped is None:
        return ["root inside is root of the node's user namespace"]
    wrong = [
        f"its {name}_map is {' '.join(text.split())}, not 0 {first} and a count without the job's user"
        for name, text, first, user in zip(
            ("uid", "gid"), seen.id_maps, (job.remapped.uid, job.remapped.gid), (job.uid, job.gid), strict=True
        )
        if not _is_apart(text, first, user)
    ]
    for target, stage in seen.staged.items():
        if any("idmapped" not in mount.options.split(",") for mount in seen.mounts if mount.what == stage.what):
            wrong.append(f"{target} is not idmapped")
    return wrong


def _is_apart(text: str, first: int, user: int) -> bool:
    """Is it one line, from 0 to the remapped root, in a range of the node's that is nobody's?"""
    words = text.split()
    if len(words) != 3 or words[:2] != ["0", str(first)]:
        return False
    return first >= LOWEST and user not in range(first, first + int(words[2]))


def remap_of(info: Units) -> Remap | None:
    """Whom dockerd makes of root, by its GET /info; None: it has no userns-remap.

    moby keeps the data of each remapped root apart, in a directory that it calls by the ids: "…/100000.100000".
    """
    if "name=userns" not in (info.get("SecurityOptions") or ()):
        return None
    uid, _, gid = str(info.get("DockerRootDir") or "").rpartition("/")[2].partition(".")
    return Remap(int(uid), int(gid)) if uid.isdecimal() and gid.isdecimal() else None


def holds(remap: Remap, root: str) -> bool:
    """Is a container's root, as dockerd tells where it is mounted, in the data of that remapped root?

    Then no dockerd starts it that does not remap: it keeps its containers elsewhere.
    """
    return f"/{remap.uid}.{remap.gid}/" in root


def admit(remap: Remap, lowest: tuple[int, int], user: str, group: str) -> str:
    """May root inside be these outside? "" or why not.

    Args:
        lowest: SUB_UID_MIN and SUB_GID_MIN of the node's login.defs(5).
        user, group: the names that the node has for the ids, "" for none.
    """
    if remap.uid < max(LOWEST, lowest[0]) or remap.gid < max(LOWEST, lowest[1]):
        return f"its dockerd remaps root to {remap.uid}:{remap.gid}, where the node's own users may be"
    if user or group:
        return f"its dockerd remaps root to {remap.uid}:{remap.gid}, which is {user or group} on the node"
    return ""


def check(node: Node) -> Iterable[Finding]:
    offered = node.site.has_root_inside
    if node.info and offered and remap_of(node.info) is None:
        yield Finding(
            "root-not-remapped", "weak", "userns", "container.root is remap, and dockerd has no userns-remap",
            "each container that asks for root inside is refused", in_dockerds_file(node, '"userns-remap": "default"'),
        )  # fmt: skip
    elif offered and not _may_idmap(node.units.get(BROKER, {})):
        yield Finding(
            "root-unit", "wrong", "userns", f"container.root is remap, and {BROKER} may make no user namespace",
            "a container of root inside that mounts something is refused",
            f"systemctl edit {BROKER}: [Service], RestrictNamespaces=mnt user; then systemctl restart {BROKER}.",
        )  # fmt: skip
    elif offered:
        yield Finding(
            "root-remap", "note", "userns", "jobs may be root inside",
            "all such containers are one uid outside: docs/security.md says what that means",
            'To end it: container.root = "refuse".',
        )  # fmt: skip
    elif "name=userns" in (node.info.get("SecurityOptions") or ()):
        yield Finding(
            "userns-remap", "note", "userns", "the jobs' dockerd remaps users, and no job may be root inside",
            "it keeps images apart from those that it had, for nothing",
            in_dockerds_file(node, 'no "userns-remap" line'),
        )  # fmt: skip


def _may_idmap(unit: Mapping[str, str]) -> bool:
    """By its properties as systemd tells them; another than the unit as shipped has no such bound."""
    kinds = unit.get("RestrictNamespaces", "no").split()
    return "no" in kinds or "user" in kinds

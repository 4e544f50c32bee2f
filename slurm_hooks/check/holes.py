# SPDX-License-Identifier: Apache-2.0
"""Versions of runc, containerd and Docker against the holes that are known. Pure.

A table, and so never whole: it has what gives more than the container was meant to have, on a node as ours. What
needs Kubernetes (containerd's CRI plugin), image builds or an authorization plugin is not in it.

Distributions mend an old version and keep its number. Then the change log of the package that is installed names
the CVE, and it counts as mended.

Sources: the advisories of opencontainers/runc, containerd/containerd and moby/moby; runc's CHANGELOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slurm_hooks.knobs.node import Finding, Node


@dataclass(frozen=True, slots=True)
class Hole:
    """What is mended in `fixed`: the first release of each branch; branches above the last one never had it."""

    component: str  # as GET /version calls it
    fixed: tuple[str, ...]
    cve: str
    means: str
    stopped: str = ""  # by what of ours; "": by nothing


LINKS = "an image whose links lead a mount elsewhere is not started"
DIRECTORIES = "dockerd puts directories in the place of such links"  # its init layer, daemon/initlayer; tried with 26.1
NO_CP = "docker cp is not offered"
# In the order of time: who has the last fix of a program has those before it.
HOLES = (
    Hole("runc", ("1.1.5",), "CVE-2023-27561", "an image's /proc is a link", DIRECTORIES),
    Hole(
        "runc", ("1.1.12",), "CVE-2024-21626", "a working directory in /proc/self/fd is the node's own root",
        "a working directory in /proc is refused",
    ),
    Hole(
        "runc", ("1.1.14", "1.2.0-rc.3"), "CVE-2024-45310", "empty files on the node, by a mount within a shared mount",
        "a mount within a mount is refused",
    ),
    Hole(
        "runc", ("1.2.8", "1.3.3", "1.4.0-rc.3"), "CVE-2025-31133", "files of /proc are writable: a link for /dev/null",
        LINKS,
    ),
    Hole("runc", ("1.2.8", "1.3.3", "1.4.0-rc.3"), "CVE-2025-52565", "the same by a link for /dev/console", LINKS),
    Hole(
        "runc", ("1.2.8", "1.3.3", "1.4.0-rc.3"), "CVE-2025-52881", "what runc writes to /proc goes elsewhere", LINKS
    ),
    Hole("runc", ("1.3.6", "1.4.3", "1.5.0-rc.3"), "CVE-2026-41579", "an image's /dev is a link", DIRECTORIES),
    Hole(
        "containerd", ("1.6.38", "1.7.27", "2.0.4"), "CVE-2024-40635", "a uid above 2^31 is taken for root",
        "the job's own uid is sent, and read back",
    ),
    Hole("Engine", ("29.5.1",), "CVE-2026-41567", "docker cp runs a program of the image as root on the node", NO_CP),
)  # fmt: skip


def check(node: Node, holes: tuple[Hole, ...] = HOLES) -> Iterable[Finding]:
    """What of the table the node has, a line for each program."""
    for component in dict.fromkeys(hole.component for hole in holes):
        version = node.versions.get(component, "")
        has = [hole for hole in holes if hole.component == component and _has(hole, version, node)]
        program = {"Engine": "docker"}.get(component, component)
        newest = ", ".join(has[-1].fixed) if has else ""
        mend = f"Bring {program} to {newest} or newer, or to your distribution's mended one."
        if bare := [hole for hole in has if not hole.stopped]:
            yield Finding("hole", "weak", "versions", f"{program} {version} has {_named(bare)}", _means(bare), mend)
        if stopped := [hole for hole in has if hole.stopped]:
            yield Finding(
                "hole-stopped", "note", "versions", f"{program} {version} has {_named(stopped)}",
                f"{_means(stopped)}; stopped here: {'; '.join(dict.fromkeys(hole.stopped for hole in stopped))}", mend,
            )  # fmt: skip


def _named(holes: list[Hole]) -> str:
    return ", ".join(hole.cve for hole in holes)


def _means(holes: list[Hole]) -> str:
    return "; ".join(dict.fromkeys(hole.means for hole in holes))


def _has(hole: Hole, version: str, node: Node) -> bool:
    return (
        bool(number(version))
        and not is_fixed(version, hole.fixed)
        and hole.cve not in node.mended.get(hole.component, "")
    )


def is_fixed(version: str, fixed: tuple[str, ...]) -> bool:
    """Is it at or above the fix of its branch, or of a branch that came after the last one?"""
    own, fixes = number(version), sorted(map(number, fixed))
    return own >= fixes[-1] or any(own[:2] == fix[:2] and own >= fix for fix in fixes)


def number(version: str) -> tuple[int, ...]:
    """`1.4.0-rc.3` as (1, 4, 0, 3), `1.4.0` as (1, 4, 0, 1000): releases come after their candidates. (): unread."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)(?:[-~]?rc\.?(\d+))?", version)
    if not found:
        return ()
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), int(patch), int(candidate or 1000)

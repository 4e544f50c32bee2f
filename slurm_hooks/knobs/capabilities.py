# SPDX-License-Identifier: Apache-2.0
"""No capability, and no way to gain one.

Stops: every power of root that a setuid file or an image could bring back: the
bounding set is empty and no-new-privileges is on.
Costs: sudo, ping, mount and the like do not work inside.
Docker: --cap-drop=ALL, --security-opt no-new-privileges; --privileged and --cap-add. `Capabilities`, the exact
set, was a field of Docker 19.03 alone; its client sends it as null.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

NO_NEW_PRIVILEGES = "HostConfig.SecurityOpt:no-new-privileges"
NONE = "a job's container has no capabilities"
ROWS = (
    Row(
        "HostConfig.Privileged", "deny", "a job's container has no privilege over the node",
        todo="Leave it out; most programs do not need it.",
    ),
    Row("HostConfig.CapAdd", "deny", NONE),
    Row("HostConfig.Capabilities", "deny", NONE),
    Row("HostConfig.CapDrop", "force", NONE, '["ALL"]'),
    Row(NO_NEW_PRIVILEGES, "force", "a setuid file gives nothing", "true"),
)  # fmt: skip
OWNS = owned(ROWS)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if units.get(NO_NEW_PRIVILEGES, "true") != "true":
        raise Refused("--security-opt no-new-privileges=false", "it is always on", "Leave it out.")
    return Confinement({"HostConfig.CapDrop": ["ALL"], "HostConfig.Privileged": False, NO_NEW_PRIVILEGES: "true"})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    wrong = [
        f"{name} is {seen.status[name]}, not empty"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        if int(seen.status[name], 16) != 0
    ]
    if seen.status["NoNewPrivs"] != "1":
        wrong.append("no-new-privileges is off")
    return wrong


def check(node: Node) -> Iterable[Finding]:
    if node.info and not _is_default(node):
        yield Finding(
            "no-new-privileges", "weak", "capabilities", "no-new-privileges is not dockerd's default",
            "the broker asks for it each time; that is one wall, and this would be the second",
            in_dockerd(node, "no-new-privileges"),
        )  # fmt: skip


def _is_default(node: Node) -> bool:
    release = str(node.info.get("ServerVersion", "")).partition(".")[0]
    if release.isdigit() and int(release) < 23:  # its /info does not tell (seen of 20.10, and of 26)
        return node.dockerd.options.get("no-new-privileges") is True
    return "name=no-new-privileges" in (node.info.get("SecurityOptions") or ())

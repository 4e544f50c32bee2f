# SPDX-License-Identifier: Apache-2.0
"""The security policy, one file a knob; this table is its contents. Pure.

`decide` hands each unit of a request to the knob that owns it; a unit that
nobody owns, or that its owner's rows deny, is refused. The request that dockerd gets is built from the knobs'
answers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slurm_hooks.broker.model import Create, Units, units
from slurm_hooks.errors import Refused, refused_by
from slurm_hooks.knobs import (
    apparmor,
    capabilities,
    cgroup,
    devices,
    identity,
    images,
    lifetime,
    logs,
    mounts,
    namespaces,
    network,
    pids,
    proc,
    process,
    resources,
    rootfs,
    runtime,
    seccomp,
    selinux,
    ulimits,
    userns,
)
from slurm_hooks.knobs.contract import JobFacts, Knob, Row, Seen, Stage
from slurm_hooks.knobs.flags import typed
from slurm_hooks.settings import Settings

KNOBS: dict[str, Knob] = {
    "identity": identity,
    "capabilities": capabilities,
    "seccomp": seccomp,
    "apparmor": apparmor,
    "selinux": selinux,
    "namespaces": namespaces,
    "userns": userns,
    "network": network,
    "cgroup": cgroup,
    "pids": pids,
    "resources": resources,
    "ulimits": ulimits,
    "devices": devices,
    "mounts": mounts,
    "rootfs": rootfs,
    "proc": proc,
    "images": images,
    "process": process,
    "logs": logs,
    "lifetime": lifetime,
    "runtime": runtime,
}
OWNERS: dict[str, str] = {unit: name for name, knob in KNOBS.items() for unit in knob.OWNS}
NOT_OFFERED = "not offered in a job's container"


def rows(name: str) -> tuple[Row, ...]:
    """A knob's lines of the policy."""
    return KNOBS[name].ROWS


DENIED = {row.unit: row for name in KNOBS for row in rows(name) if row.action == "deny" and row.unit in OWNERS}


@dataclass(frozen=True, slots=True)
class Decision:
    """What dockerd will be asked: fields by unit name, and the bind mounts still to be staged."""

    fields: dict[str, Any]
    stages: tuple[Stage, ...]
    network: str = ""  # the site's name of the restricted one that it joins

    def body(
        self, staged: dict[str, str], volumes: Iterable[str] = (), own: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The create body.

        Args:
            staged: each stage's target → the path that dockerd is given for it.
            own: target → a file of ours, read-only.
            volumes: the image's own VOLUME paths, where dockerd would put unbounded directories of the node.
        """
        fields = dict(self.fields)
        if network.HOSTS not in (own or {}):
            fields.pop(network.DISABLED, None)  # dockerd makes one where it makes the namespace
        binds = [stage.target for stage in self.stages]
        scratch = rootfs.scratch(
            {*binds, *fields["HostConfig.Tmpfs"]}, volumes, readonly=fields["HostConfig.ReadonlyRootfs"]
        )
        scratch = {target: options for target, options in scratch.items() if not mounts.below(target, binds)}
        fields["HostConfig.Tmpfs"] = {**scratch, **fields["HostConfig.Tmpfs"]}
        # What is staged is read-only there, where it is to be. Before Docker 25 a read-only bind is remounted by runc
        # with that flag alone (1.1, remount), so it would lose our nosuid, nodev and noexec.
        wanted = [(staged[stage.target], stage.target, False) for stage in self.stages]
        wanted += [(path, target, True) for target, path in (own or {}).items()]
        fields["HostConfig.Mounts"] = [
            {
                "Type": "bind",
                "Source": source,
                "Target": target,
                "ReadOnly": readonly,
                "BindOptions": {"Propagation": "rprivate"},
            }
            for source, target, readonly in wanted
        ]
        return _assembled(fields)


def decide(create: Create, job: JobFacts, site: Settings, image_directory: str = "") -> Decision:
    """Apply the whole policy to a create request. Raises Refused, naming the flag, the rule and the way round.

    `image_directory` is the image's WORKDIR, which holds where the request names none.
    """
    asked = units(create)
    if asked.get("User") not in identity.ROOTS:
        job = replace(job, remapped=None)  # it is of root inside alone
    for unit, value in asked.items():
        if unit not in OWNERS:
            raise Refused(typed(unit, value), NOT_OFFERED, "Leave it out.")
        if row := DENIED.get(unit):
            with refused_by(OWNERS[unit]):
                raise Refused(typed(unit, value), row.reason, row.todo)
    fields: dict[str, Any] = {}
    stages: tuple[Stage, ...] = ()
    joins = ""
    for name, knob in KNOBS.items():
        own: Units = {unit: value for unit, value in asked.items() if unit in knob.OWNS}
        with refused_by(name):
            answer = knob.confine(own, job, site)
        fields.update(answer.fields)
        stages += answer.stages
        joins = joins or answer.network
    with refused_by("mounts"):
        mounts.refuse_nested((stage.target for stage in stages), fields[rootfs.TMPFS])
        directory = fields.get("WorkingDir") or image_directory
        return Decision(fields, mounts.for_working_directory(stages, directory, job.uid), joins)


def verify(seen: Seen, job: JobFacts, asked: dict[str, Any]) -> list[str]:
    """All that differs between a running container and what was asked for it."""
    return [f"{name}: {wrong}" for name, knob in KNOBS.items() for wrong in knob.verify(seen, job, asked)]


def _assembled(fields: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"HostConfig": {}}
    options = []
    for unit, value in fields.items():
        name, _, tag = unit.partition(":")
        if name == "HostConfig.SecurityOpt":
            options += [f"{tag}={one}" for one in (value if isinstance(value, tuple) else (value,))]
        elif name.startswith("HostConfig."):
            body["HostConfig"][name.removeprefix("HostConfig.")] = value
        else:
            body[name] = value
    body["HostConfig"]["SecurityOpt"] = options
    return body

# SPDX-License-Identifier: Apache-2.0
"""What a knob is: its rows of the policy, and what it says in each of its moments. Pure.

A knob touches nothing. Its rows say what becomes of each unit that it owns; a
unit that they deny is refused before any knob is asked. `confine` turns the
others into fields of our own request and into stages for the broker to make;
`verify` compares what the kernel says of the running container with what was asked;
`check` says what of the node takes the knob's effect away, before any container runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import Settings

Units = Mapping[str, Any]
Action = Literal["allow", "force", "cap", "deny", "drop"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the policy: what becomes of a unit, or of a part of one.

    allow: it passes as asked, once its form is found good. force: it is `value`, whatever was asked; another wish
    is refused where silence would mislead. cap: it passes within `value`. deny: refused when it says anything.
    drop: it is taken and not passed on, since here it changes nothing.

    Parts are written as moby's structs nest: `HostConfig.Mounts[].ReadOnly`, `Labels:slurm-hooks.` (by prefix).
    In `value` and `reason`, `{container.pids}` stands for the site's setting, `<uid>` for a fact of the job.
    """

    unit: str
    action: Action
    reason: str
    value: str = ""
    todo: str = "Leave it out."  # what to do instead; said where it is denied
    switch: str = ""  # the site's setting that turns the row on; with it off, the unit is allowed


def unit_of(part: str) -> str:
    """The unit that a row's part lies in: `HostConfig.Mounts[].Type` is in `HostConfig.Mounts`."""
    if part.startswith("HostConfig.SecurityOpt:"):
        return part
    whole = part.partition("[")[0].partition("{")[0].partition(":")[0]
    return ".".join(whole.split(".")[: 2 if whole.startswith("HostConfig.") else 1])


def owned(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """The units that rows speak of, each once."""
    return tuple(dict.fromkeys(unit_of(row.unit) for row in rows))


class Mount(Protocol):
    """A line of mountinfo, as linux.mounts_of gives it."""

    @property
    def point(self) -> str:
        """Where it is mounted."""

    @property
    def options(self) -> str:
        """Per-mount options, by commas."""

    @property
    def what(self) -> tuple[str, str]:
        """(device, root): what is mounted, wherever it is."""


@dataclass(frozen=True, slots=True)
class Remap:
    """Who root in a container of the jobs' dockerd is outside (userns-remap)."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What of the site's restricted networks stands on the node."""

    fault: str = ""  # why none can be joined now
    hosts: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)  # network → name → addresses


@dataclass(frozen=True, slots=True)
class JobFacts:
    """The asker, as the kernel and the job's record have it."""

    key: str
    id: int
    uid: int
    gid: int
    groups: tuple[int, ...]  # supplementary, of the asking process
    cgroup: str  # the job's, relative to the mount point
    nonce: str  # of the container that is asked for
    pids: int  # what the job's own processes may be together
    gpus: tuple[Mapping[str, str], ...] | None = ()  # each as its nodes: path → "c 195:0"; None: no job is there yet
    with_gpu: Mapping[str, str] = field(default_factory=dict)  # nodes that the site gives with them
    # What a create alone needs:
    memory: int = 0  # bytes that it may have; the node's own where Slurm bounds none; 0: not known, no job is there yet
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # of the asking process, as Seen.limits
    lsm: str = ""  # what confines processes of the node: "apparmor", "selinux" or ""
    profiles: frozenset[str] = frozenset()  # AppArmor's, loaded and enforced; SELinux's modules
    # Of a container whose root is nobody outside alone, create and read-back; None: dockerd remaps nobody.
    remapped: Remap | None = None
    reach: Reach | None = None  # of a create alone; None: nobody has looked


@dataclass(frozen=True, slots=True)
class Stage:
    """A bind mount to be made: `source` resolved as the user, then judged on what was really opened."""

    source: str
    target: str
    readonly: bool
    denied: tuple[str, ...]  # the site's own refused prefixes
    owner: int | None = None  # the uid that must own the source; None: any
    allowed: tuple[str, ...] = ()  # the prefixes that the site allows alone; none: all that is not refused
    noexec: bool = False  # no program on it runs


@dataclass(frozen=True, slots=True)
class Confinement:
    """A knob's answer: fields of the new request by unit name, and stages."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    network: str = ""  # the site's name of a restricted one that is to be joined


@dataclass(frozen=True, slots=True)
class Links:
    """The network of a container's namespace."""

    interfaces: frozenset[str] = frozenset({"lo"})
    # (interface, destination, gateway, mask), as /proc/net/route has them, in dots
    routes: tuple[tuple[str, str, str, str], ...] = ()
    ipv6: frozenset[str] = frozenset({"lo"})  # interfaces with an IPv6 address


@dataclass(frozen=True, slots=True)
class Seen:
    """The kernel's facts about a container's first process, read once after start."""

    pid: int
    status: Mapping[str, str]  # /proc/<pid>/status
    cgroup: str  # its path, relative to the mount point; of the pids hierarchy on v1
    pids_max: str  # of that cgroup, as the file has it
    namespaces: Mapping[str, str]  # pid, net, ipc, mnt, uts, user → "net:[4026531840]"
    host_namespaces: Mapping[str, str]
    label: str  # /proc/<pid>/attr/current; "" without an LSM
    lsm: str  # "apparmor", "selinux" or ""
    mounts: tuple[Mount, ...]
    staged: Mapping[str, Mount]  # by target: the stage as the host has it
    limits: Mapping[str, tuple[int, int]]  # of each process, by Docker's names: (soft, hard), -1 for none
    devices: Mapping[str, str]  # the device nodes in its /dev: path → kind and numbers, "c 1:3"
    id_maps: tuple[str, str] = ("", "")  # /proc/<pid>/uid_map and gid_map
    links: Links = field(default_factory=Links)


class Knob(Protocol):
    """A module of knobs/."""

    @property
    def ROWS(self) -> tuple[Row, ...]:
        """Its lines of the policy, a constant of the module."""

    @property
    def OWNS(self) -> tuple[str, ...]:
        """Unit names, a constant of the module."""

    def confine(self, units: Units, job: JobFacts, site: Settings) -> Confinement:
        """The units that it owns (non-zero ones only) → fields. Raises Refused."""

    def verify(self, seen: Seen, job: JobFacts, asked: Units) -> list[str]:
        """What differs between the kernel's facts and the fields that were sent; empty: all holds."""

    def check(self, node: Node) -> Iterable[Finding]:
        """What of the node takes its effect away."""


def as_asked(units: Units, job: JobFacts, site: Settings) -> Confinement:
    """`confine` of a knob whose rows deny or drop all that it owns."""
    return Confinement()


def nothing_to_see(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    """`verify` of a knob whose effect has no trace in the kernel, or is seen by another knob."""
    return []


def nothing_to_check(node: Node) -> Iterable[Finding]:
    """`check` of a knob that needs nothing of the node but what others look at."""
    return ()

# SPDX-License-Identifier: Apache-2.0
"""What a site may set, with defaults and bounds: the closed model of slurm-hooks.toml.

An unknown key is an error. Nothing here can open the wall; it moves within it,
and `slurm-hooks check` names each choice that weakens a promise.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from slurm_hooks import bridges
from slurm_hooks.services import Service, barred, parsed

Pids = Annotated[int, Meta(ge=16, le=4_194_304)]  # processes and threads; the kernel's own maximum
Number = Annotated[int, Meta(ge=1, le=10_000)]
Grace = Annotated[int, Meta(ge=0, le=30)]  # seconds; the node is completing meanwhile
Megabytes = Annotated[int, Meta(ge=1, le=10_240)]
Prefix = Annotated[str, Meta(pattern=r"^/[^\0]*$")]
# A place of the node as the kernel writes it: what was opened is compared with it by whole names.
Place = Annotated[str, Meta(pattern=r"^(/|(/(?!\.{1,2}(/|$))[^/\0]+)+)$")]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Value = Annotated[str, Meta(pattern=r"^[^\0]*$", max_length=4096)]
Root = Literal["refuse", "remap"]
Sentence = Annotated[str, Meta(pattern=r"^[^\0-\x1f\x7f]*$", max_length=200)]


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """What the site itself says."""

    help: Sentence = ""  # ends each refusal: a help desk's address


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """What all jobs of the node together leave to the node."""

    reserve: Annotated[int, Meta(ge=0, le=4_194_304)] = 2048  # processes and threads; 0: nothing is set


class JobLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What all processes of a job may be together: host side and containers."""

    pids: Pids = 4096
    slurm_reserve: Annotated[int, Meta(ge=0, le=4096)] = 64  # for slurmstepd's threads, which count too


class ContainerLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one container may be, and how many of them a job may have at once."""

    pids: Pids = 1024  # where --pids-limit is not given
    pids_max: Pids | None = None  # the most that --pids-limit may ask for; None: pids
    number: Number = 64
    readonly_root: bool = True
    log_megabytes: Megabytes = 16
    grace_seconds: Grace = 0  # between SIGTERM and SIGKILL when the job has ended; 0: SIGKILL at once
    environment: dict[Variable, Value] = field(default_factory=dict)
    root: Root = "refuse"  # what becomes of --user 0; remap: it is nobody outside, on a dockerd with userns-remap

    def __post_init__(self) -> None:
        if self.most_pids < self.pids:
            raise ValueError(f"pids_max {self.pids_max} is below pids {self.pids}")

    @property
    def most_pids(self) -> int:
        """The most that a container may ask for."""
        return self.pids if self.pids_max is None else self.pids_max


Sockets = Literal["allow", "refuse"]


class Mounts(Struct, frozen=True, forbid_unknown_fields=True):
    """Places of the node, beside those that the program itself refuses, and what a bind mount is good for."""

    allow: tuple[Place, ...] = ()  # these and what is below, nothing else; none: all that is not refused
    deny: tuple[Place, ...] = ()  # never
    noexec: bool = False  # no program on a bind mount runs
    sockets: Sockets = "allow"  # Unix sockets: to those in a bind mount, or none

    @property
    def options(self) -> str:
        """How bind mounts are mounted, in words."""
        return f"nosuid, nodev{', noexec' if self.noexec else ''} and private"


class PartitionContainer(Struct, frozen=True, forbid_unknown_fields=True):
    """[container] of a partition: what it names holds there."""

    pids: Pids | None = None
    pids_max: Pids | None = None
    number: Number | None = None
    readonly_root: bool | None = None
    log_megabytes: Megabytes | None = None
    environment: dict[Variable, Value] = field(default_factory=dict)  # on top of the site's
    root: Root | None = None


class PartitionMounts(Struct, frozen=True, forbid_unknown_fields=True):
    """[mounts] of a partition."""

    allow: tuple[Place, ...] | None = None  # in the place of the site's
    deny: tuple[Place, ...] = ()  # on top of the site's
    noexec: bool | None = None
    sockets: Sockets | None = None


class PartitionLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """A partition's own words in the place of the site's."""

    pids: Pids | None = None  # of a job
    container: PartitionContainer = field(default_factory=PartitionContainer)
    mounts: PartitionMounts = field(default_factory=PartitionMounts)


Registry = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$")]
Repository = Annotated[str, Meta(pattern=r"^[a-z0-9*][a-z0-9._:/*-]*$")]
Gigabytes = Annotated[float, Meta(ge=0, le=1_000_000)]  # of 10^9 bytes
Pulls = Annotated[int, Meta(ge=1, le=100)]


class Images(Struct, frozen=True, forbid_unknown_fields=True):
    """Which images jobs run, and what pulling and keeping them may cost the node."""

    registries: tuple[Registry, ...] = ()  # that jobs may pull from; none: they may not
    allow: tuple[Repository, ...] = ("*",)
    keep: tuple[Repository, ...] = ()
    credentials: bool = True  # of the users' own
    pulls_of_job: Pulls = 1
    pulls_of_node: Pulls = 3
    largest_gigabytes: Gigabytes = 32.0
    cache_gigabytes: Gigabytes = 0.0  # 0: nothing is evicted


class Devices(Struct, frozen=True, forbid_unknown_fields=True):
    """Device nodes of containers, beside the GPUs that Slurm gave the job."""

    with_gpu: tuple[Place, ...] = ()  # nodes that a GPU does not work without: /dev/nvidiactl


class Docker(Struct, frozen=True, forbid_unknown_fields=True):
    """The jobs' dockerd."""

    socket: Prefix = "/run/slurm-hooks-docker/docker.sock"
    data_root: Place = "/var/lib/slurm-hooks-docker"
    pool: str = "198.18.0.0/15"  # of containers in restricted networks; RFC 2544's, which no site routes

    def __post_init__(self) -> None:
        if barred(self.addresses) or not 8 <= self.addresses.prefixlen <= OF_JOB:
            raise ValueError(f"pool {self.pool}: a network of /8 to /{OF_JOB} that may be a host's")

    @property
    def addresses(self) -> IPv4Network:
        """The pool. Raises ValueError."""
        return IPv4Network(self.pool)


OF_JOB = 24  # the prefix of a job's own part of the pool
NetworkName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,19}$")]
Reach = Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
RESERVED = ("none", "default", "bridge", "host", "container", "nat", "null")  # that mean something to dockerd


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """A restricted network that jobs may join by its name."""

    reach: Reach  # HOST:PORT/tcp, HOST:FIRST-LAST/udp, ADDRESS/BITS:PORT/tcp

    def __post_init__(self) -> None:
        if len(set(self.reach)) != len(self.services):
            raise ValueError("reach names a service twice")

    @property
    def services(self) -> tuple[Service, ...]:
        """What it reaches. Raises ValueError."""
        return tuple(map(parsed, self.reach))


class Epilog(Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of what a job left beside us when it ends."""

    escapes: Literal["end", "drain", "report"] = "end"  # processes outside of its cgroup, its own without doubt
    doubts: Literal["report", "drain"] = "report"  # what is likely its own
    ipc: Literal["report", "remove"] = "report"  # System V objects, shared memory and queues of its user
    sweep: Literal["drain", "report"] = "drain"  # what the sweep cannot end


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """slurm-hooks.toml, whole."""

    site: Site = field(default_factory=Site)
    node: Node = field(default_factory=Node)
    job: JobLimits = field(default_factory=JobLimits)
    partition: dict[str, PartitionLimits] = field(default_factory=dict)
    container: ContainerLimits = field(default_factory=ContainerLimits)
    mounts: Mounts = field(default_factory=Mounts)
    images: Images = field(default_factory=Images)
    devices: Devices = field(default_factory=Devices)
    docker: Docker = field(default_factory=Docker)
    epilog: Epilog = field(default_factory=Epilog)
    network: dict[NetworkName, Network] = field(default_factory=dict)  # restricted ones, by name; none: none is offered

    def __post_init__(self) -> None:
        prefixes = [bridges.prefix(name) for name in self.network]
        for name, network in self.network.items():
            if name in RESERVED:
                raise ValueError(f"network {name}: the name means something else to Docker; choose another")
            if prefixes.count(bridges.prefix(name)) > 1:
                raise ValueError(f"network {name}: another one's bridges would be called alike; choose another name")
            for service in network.services:
                if service.network and (why := barred(service.network, [self.docker.addresses])):
                    raise ValueError(f"network {name}: {service.text}: {why}")
        for name in self.partition:
            self.of_partition(name)  # raises ValueError where its words do not fit the site's

    @property
    def has_root_inside(self) -> bool:
        """May any job be root inside?"""
        return any(site.container.root == "remap" for site in (self, *map(self.of_partition, self.partition)))

    def of_partition(self, name: str) -> Settings:
        """What holds for a container of a job in a partition; the job's own figure is the Prolog's to choose."""
        own = self.partition.get(name)
        if own is None:
            return self
        words = _said(own.container)
        if own.container.pids is not None and own.container.pids_max is None:
            words["pids_max"] = None  # a partition's smaller figure is not to be raised by the site's maximum
        words["environment"] = {**self.container.environment, **own.container.environment}
        try:
            container = msgspec.structs.replace(self.container, **words)
        except ValueError as error:
            raise ValueError(f"partition {name}: {error}") from None
        places = _said(own.mounts) | {"deny": (*self.mounts.deny, *own.mounts.deny)}
        mounts = msgspec.structs.replace(self.mounts, **places)
        return msgspec.structs.replace(self, partition={}, container=container, mounts=mounts)


def _said(own: Struct) -> dict[str, Any]:
    """What a partition names itself."""
    return {key: value for key, value in msgspec.structs.asdict(own).items() if value is not None}

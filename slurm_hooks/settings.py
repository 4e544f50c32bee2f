# SPDX-License-Identifier: Apache-2.0
"""What a site may set, with defaults and bounds: the closed model of slurm-hooks.toml.

An unknown key is an error. Nothing here can open the wall; it moves within it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

Pids = Annotated[int, Meta(ge=16, le=4_194_304)]  # processes and threads; the kernel's own maximum
Prefix = Annotated[str, Meta(pattern=r"^/[^\0]*$")]


class JobLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What all processes of a job may be together: host side and containers."""

    pids: Pids = 4096
    slurm_reserve: Annotated[int, Meta(ge=0, le=4096)] = 64  # for slurmstepd's threads, which count too


class PartitionLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """A partition's own figure in the place of the site's."""

    pids: Pids | None = None


class ContainerLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one container may be, and how many of them a job may have at once."""

    pids: Pids = 1024
    number: Annotated[int, Meta(ge=1, le=10_000)] = 64
    readonly_root: bool = True
    log_megabytes: Annotated[int, Meta(ge=1, le=10_240)] = 16


class Mounts(Struct, frozen=True, forbid_unknown_fields=True):
    """Places of the node that a container never gets, beside those that the program itself refuses."""

    deny: tuple[Prefix, ...] = ()


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


class Docker(Struct, frozen=True, forbid_unknown_fields=True):
    """The jobs' dockerd."""

    socket: Prefix = "/run/slurm-hooks-docker/docker.sock"
    data_root: Prefix = "/var/lib/slurm-hooks-docker"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """slurm-hooks.toml, whole."""

    job: JobLimits = field(default_factory=JobLimits)
    partition: dict[str, PartitionLimits] = field(default_factory=dict)
    container: ContainerLimits = field(default_factory=ContainerLimits)
    mounts: Mounts = field(default_factory=Mounts)
    images: Images = field(default_factory=Images)
    docker: Docker = field(default_factory=Docker)

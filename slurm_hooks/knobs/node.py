# SPDX-License-Identifier: Apache-2.0
"""A node as `slurm-hooks check` sees it, and what it finds. Pure.

check/facts.py reads the node once; each knob, and the modules of check/, judge what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from slurm_hooks.needs import DOCKERD
from slurm_hooks.settings import Settings

BROKER = "slurm-hooks-broker.service"
NETWORKS = "slurm-hooks-networks.timer"
Level = Literal["wrong", "weak", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an operator should know before a node is trusted.

    wrong: a promise does not hold, or no container starts. weak: a promise holds with one wall fewer, or for less.
    note: to know, and not to mend in a hurry.
    """

    name: str  # for monitoring: it stays from release to release
    level: Level
    knob: str  # of the policy, or a part of the node: slurm, dockerd, kernel, files, units, access, site, live
    what: str
    why: str
    mend: str  # the very line or command


@dataclass(frozen=True, slots=True)
class File:
    """A file, directory or socket of the node, by lstat(2)."""

    uid: int
    gid: int
    mode: int  # permission bits
    reachable: bool = False  # may everyone pass all directories above it?


@dataclass(frozen=True, slots=True)
class Daemon:
    """A dockerd that runs on the node."""

    options: Mapping[str, Any]  # of its file and its command line, by the names of the file
    file: str  # its configuration file, whether it is there or not
    tcp: tuple[str, ...] = ()  # addresses where it listens
    flags: frozenset[str] = frozenset()  # options of its command line: dockerd takes none from both


@dataclass(frozen=True, slots=True)
class View:
    """What a daemon sees of the node's mounts."""

    own: bool  # a mount namespace of its own?
    hears: bool  # do later mounts of the node come there (shared subtrees, mount_namespaces(7))?


@dataclass(frozen=True, slots=True)
class Node:
    """A snapshot of a node, read once by check/facts.py. What could not be read is absent."""

    site: Settings
    info: Mapping[str, Any] = field(default_factory=dict)  # GET /info of the jobs' dockerd; empty: no answer
    dockerd: Daemon = Daemon({}, "")  # the jobs'
    others: tuple[Daemon, ...] = ()  # beside it
    versions: Mapping[str, str] = field(default_factory=dict)  # Engine, containerd, runc: as GET /version has them
    mended: Mapping[str, str] = field(default_factory=dict)  # the same names: the change log of the installed package
    kernel: str = ""  # uname -r
    sysctls: Mapping[str, str] = field(default_factory=dict)  # kernel.pid_max → its text
    lsms: tuple[str, ...] = ()  # /sys/kernel/security/lsm
    profiles: Mapping[str, str] = field(default_factory=dict)  # AppArmor's that are loaded → enforce, complain, …
    selinux: Literal["enforcing", "permissive", ""] = ""  # "": the kernel has no policy of SELinux
    modules: frozenset[str] = frozenset()  # of SELinux's policy
    cgroup: int = 2  # the version
    cgroup_options: tuple[str, ...] = ()  # of the cgroup2 mount
    controllers: tuple[str, ...] = ()  # that the kernel has
    slurm: Mapping[str, str] = field(default_factory=dict)  # scontrol show config; empty: no answer
    hooks: Mapping[str, bool] = field(default_factory=dict)  # Prolog, Epilog, …: does Slurm run ours?
    units: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # systemctl show; empty: no systemd
    views: Mapping[str, View] = field(default_factory=dict)  # broker, dockerd, slurmd
    sees_images: bool = True  # is dockerd's data root where the broker looks for it?
    broker: bool = True  # does it take connections?
    files: Mapping[str, File] = field(default_factory=dict)  # that root's programs read or run
    sockets: Mapping[str, File] = field(default_factory=dict)  # of dockerd, containerd
    closed: Mapping[str, File] = field(default_factory=dict)  # directories that are nobody else's to look into
    links: Mapping[str, str] = field(default_factory=dict)  # places of the site's [mounts] → where they really lead
    running: frozenset[str] = frozenset()  # of sshd, cron, crond, atd
    docker_group: tuple[str, ...] = ()  # its members
    lingering: tuple[str, ...] = ()  # users whose manager systemd keeps (loginctl enable-linger)
    managers: tuple[str, ...] = ()  # uids, but root's, whose user manager runs
    pam: tuple[str, ...] = ()  # the lines of sshd's stack, includes followed
    sshd_asks_pam: bool = True  # UsePAM
    # Of restricted networks, where the site offers any:
    nft: bool = True  # is the program there?
    firewall: str = ""  # why its rules are not known to stand
    unresolved: tuple[str, ...] = ()  # what is amiss with names of [network], each in words


def in_dockerd(node: Node, name: str) -> str:
    """How to mend a finding by the configuration of the jobs' dockerd, in the words of needs.py."""
    return in_dockerds_file(node, DOCKERD[name].words)


def in_dockerds_file(node: Node, line: str) -> str:
    """The same for what only a person can decide."""
    return f"In {node.dockerd.file}: {line}; then systemctl restart slurm-hooks-docker (containers live on)."

# SPDX-License-Identifier: Apache-2.0
"""The node, read once: all that `check` needs of kernel, Slurm, systemd, dockerd and files. Changes nothing.

What cannot be read is absent from the snapshot, and then nothing is said of it.
"""

from __future__ import annotations

import glob
import grp
import os
import platform
import pwd
import re
import socket
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from slurm_hooks import cgroups, config, controller, linux
from slurm_hooks.broker import networks, readback
from slurm_hooks.check import packages, processes
from slurm_hooks.check.units import DOCKERD, PROPERTIES, SWEEP, TIMER
from slurm_hooks.engine import Engine
from slurm_hooks.errors import HooksError
from slurm_hooks.firewall import NFT
from slurm_hooks.knobs.node import BROKER, NETWORKS, File, Node
from slurm_hooks.settings import Settings

HOOKS = ("Prolog", "Epilog", "TaskProlog", "TaskEpilog")
SYSCTLS = (
    "kernel.pid_max", "kernel.threads-max", "kernel.unprivileged_bpf_disabled", "fs.protected_hardlinks",
    "fs.protected_symlinks", "fs.suid_dumpable", "net.ipv4.ip_forward",
)  # fmt: skip
SELINUX: dict[str, Literal["enforcing", "permissive"]] = {"1": "enforcing", "0": "permissive"}
SSH = ("ssh.socket", "sshd.socket")  # systemd listens, and starts a sshd for each that comes
UNITS = (BROKER, DOCKERD, SWEEP, TIMER, NETWORKS, *SSH)
LIBRARY = "/usr/lib/slurm-hooks"
DOCKER_SOCKETS = ("/run/docker.sock", "/run/containerd/containerd.sock")
CLOSED = (f"{config.RUN}/jobs", os.path.dirname(config.EVENTS), "/var/lib/containerd")
ALLOW = ("/etc/cron.allow", "/etc/at.allow", "/etc/at.deny")
PAM = "/etc/pam.d"
SECONDS = 20.0  # for systemctl


def read(site: Settings) -> Node:
    """All of it, as root."""
    info, versions = _asked(site.docker.socket)
    slurm = _slurm()
    ours, others = processes.daemons(site.docker.socket)
    dockerd = ours.daemon if ours else processes.NONE
    units = _units()
    pids = processes.pids(ours.pid if ours else 0)
    hooks = {name: list(_scripts(slurm, name)) for name in HOOKS} if slurm else {}
    return Node(
        site=site,
        info=info,
        dockerd=dockerd,
        others=tuple(one.daemon for one in others),
        versions=versions,
        mended=packages.mended(versions),
        kernel=platform.release(),
        sysctls={name: text for name in SYSCTLS if (text := _text(f"/proc/sys/{name.replace('.', '/')}").strip())},
        lsms=tuple(_text("/sys/kernel/security/lsm").strip().split(",")),
        profiles=readback.apparmor(),
        selinux=SELINUX.get(_text("/sys/fs/selinux/enforce").strip(), ""),
        modules=readback.profiles("selinux"),
        cgroup=2 if os.path.exists(f"{cgroups.MOUNT}/cgroup.controllers") else 1,
        cgroup_options=_cgroup_options(),
        controllers=_controllers(),
        slurm=slurm,
        hooks={name: any(map(runs_us, scripts)) for name, scripts in hooks.items()},
        units=units,
        views=processes.views(pids, site.docker.data_root),
        sees_images=processes.sees(pids.get("broker", 0), site.docker.data_root),
        broker=_takes_connections(f"{config.RUN}/docker.sock"),
        files=_files(dockerd.file, slurm, hooks.values(), units),
        sockets=dict(_existing((site.docker.socket, *DOCKER_SOCKETS))),
        closed=dict(_existing((site.docker.data_root, *CLOSED))),
        links=_links(site),
        running=_running(units),
        docker_group=_members("docker"),
        lingering=tuple(sorted(_names("/var/lib/systemd/linger"))),
        managers=tuple(sorted(_managers())),
        pam=tuple(_pam("sshd")),
        sshd_asks_pam=_sshd_asks_pam(),
        nft=any(os.access(path, os.X_OK) for path in NFT),
        firewall=networks.reach(site).fault if site.network else "",
        unresolved=networks.unresolved() if site.network else (),
    )


def few(site: Settings) -> Node:
    """The little of it that needs.Asked takes: neither Slurm nor dockerd is asked."""
    units = _units()
    return Node(
        site=site,
        selinux=SELINUX.get(_text("/sys/fs/selinux/enforce").strip(), ""),
        controllers=_controllers(),
        running=_running(units),
        pam=tuple(_pam("sshd")),
        sshd_asks_pam=_sshd_asks_pam(),
    )


def _running(units: Mapping[str, Mapping[str, str]]) -> frozenset[str]:
    listening = {"sshd" for name in SSH if units.get(name, {}).get("ActiveState") == "active"}
    return frozenset(processes.running() | listening)


def _text(path: str) -> str:
    try:
        return linux.read(path)
    except OSError:
        return ""


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


# -- dockerd, Slurm, systemd -----------------------------------------------------------------------


def _asked(docker_socket: str) -> tuple[dict[str, Any], dict[str, str]]:
    """GET /info, and the versions of GET /version; both empty where dockerd does not answer."""
    try:
        engine = Engine(docker_socket)
        parts = engine.version().get("Components") or ()
        return engine.info(), {part["Name"]: part["Version"] for part in parts}
    except HooksError:
        return {}, {}


def _slurm() -> dict[str, str]:
    try:
        return controller.configuration()
    except HooksError:
        return {}


def _scripts(slurm: Mapping[str, str], hook: str) -> Iterator[str]:
    """The files that slurm.conf names for a hook; its lines are patterns, Prolog[0], Prolog[1], …"""
    for name, value in slurm.items():
        if name.partition("[")[0] == hook:
            yield from glob.glob(value)


def runs_us(path: str) -> bool:
    """Is the script ours, or one that calls ours? By its text; slurmd passes over what is not executable."""
    try:
        with open(path, "rb") as script:
            return os.access(path, os.X_OK) and bool(re.search(rb"slurm[-_]hooks", script.read(65_536)))
    except OSError:
        return False


def _units() -> dict[str, dict[str, str]]:
    """`systemctl show` of our units; empty where systemd does not run the node."""
    if not os.path.isdir("/run/systemd/system"):
        return {}
    try:
        done = subprocess.run(
            ["/usr/bin/systemctl", "show", f"--property={','.join(PROPERTIES)}", *UNITS],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for block in done.stdout.split("\n\n"):
        unit = {name: value for name, equals, value in (line.partition("=") for line in block.splitlines()) if equals}
        found[unit.get("Id", "")] = unit
    return found


def _takes_connections(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(path)
        except OSError:
            return False
    return True


# -- the kernel ------------------------------------------------------------------------------------


def _cgroup_options() -> tuple[str, ...]:
    """The options of the cgroup2 file system; of mountinfo's last field, where the kernel shows nsdelegate."""
    for line in _text("/proc/1/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        if tail.startswith("cgroup2 ") and head.split(" ")[4] == cgroups.MOUNT:
            return tuple(option for option in tail.split(" ")[2].split(",") if option not in ("rw", "ro"))
    return ()


def _controllers() -> tuple[str, ...]:
    every = _text(f"{cgroups.MOUNT}/cgroup.controllers").split()
    if every:
        return tuple(every)
    rows = (line.split() for line in _text("/proc/cgroups").splitlines() if not line.startswith("#"))
    return tuple(row[0] for row in rows if row[3] == "1")


# -- files -----------------------------------------------------------------------------------------


def _files(
    dockerd: str, slurm: Mapping[str, str], hooks: Iterable[list[str]], units: Mapping[str, Mapping[str, str]]
) -> dict[str, File]:
    """What root's programs read or run, each with the directories above it."""
    places = [config.SOURCE, config.PROGRAM, dockerd, slurm.get("SLURM_CONF", ""), *ALLOW]
    places += [script for scripts in hooks for script in scripts]
    for unit in units.values():
        places += [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split()]
    for top, directories, names in os.walk(LIBRARY):
        places += [os.path.join(top, name) for name in (*directories, *names)]
    for place in filter(None, tuple(places)):
        while (place := os.path.dirname(place)) != "/":
            places.append(place)
    return dict(_existing(dict.fromkeys(filter(None, places))))


def _existing(paths: Iterable[str]) -> Iterator[tuple[str, File]]:
    for path in paths:
        try:
            facts = os.stat(path)
        except OSError:
            continue
        yield path, File(facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), _reachable(path))


def _reachable(path: str) -> bool:
    while (path := os.path.dirname(path)) not in ("/", ""):
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
    return True


def _links(site: Settings) -> dict[str, str]:
    """Places of [mounts] that are not where they say. A mount is judged by its real path."""
    every = [site.of_partition(name).mounts for name in ("", *site.partition)]
    places = {place for mounts in every for place in (*mounts.allow, *mounts.deny)}
    return {place: real for place in sorted(places) if (real := os.path.realpath(place)) != place}


# -- who may come in -------------------------------------------------------------------------------


def _members(name: str) -> tuple[str, ...]:
    try:
        group = grp.getgrnam(name)
    except KeyError:
        return ()
    primary = [user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid]
    return tuple(sorted({*group.gr_mem, *primary} - {"root"}))


def _managers() -> set[str]:
    """The uids whose user manager runs: user@1001.service, by its cgroup in the tree that systemd keeps."""
    found: set[str] = set()
    for tree in ("", "/systemd", "/unified"):
        for path in glob.glob(f"{cgroups.MOUNT}{tree}/user.slice/user-*.slice/user@*.service"):
            found.add(path.rpartition("user@")[2].removesuffix(".service"))
    return found - {"0"}


def _pam(service: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of a service's stack, with what `@include`, `include` and `substack` bring (pam.d(5))."""
    if service in seen:
        return
    for line in _text(f"{PAM}/{os.path.basename(service)}").replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] == "@include":
            yield from _pam(words[1], (*seen, service))
        elif len(words) > 2 and words[1] in ("include", "substack"):
            kind = words[0].lstrip("-")
            included = _pam(words[2], (*seen, service))
            yield from (one for one in included if one.split()[0].lstrip("-") == kind)
        elif words:
            yield " ".join(words)


def _sshd_asks_pam() -> bool:
    """UsePAM of sshd_config: the first word counts, and none means no (sshd_config(5))."""
    main = "/etc/ssh/sshd_config"
    for path in (*sorted(glob.glob(f"{main}.d/*.conf")), main):
        if found := re.search(r"^[ \t]*UsePAM[ \t=]+(\w+)", _text(path), re.MULTILINE | re.IGNORECASE):
            return found[1].lower() == "yes"
    return False

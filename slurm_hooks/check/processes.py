# SPDX-License-Identifier: Apache-2.0
"""Daemons of the node as their processes are: every dockerd with its options, and what ours see of the mounts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import psutil

from slurm_hooks import config, linux
from slurm_hooks.knobs.node import Daemon, View

NONE = Daemon({}, "/etc/docker/slurm-jobs.json")  # the jobs', where it does not run
DEFAULT = "/etc/docker/daemon.json"
DEFAULT_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
# Where the command line has another word than the file (dockerd --help).
NAMES = {
    "H": "hosts", "host": "hosts", "D": "debug", "l": "log-level", "exec-opt": "exec-opts", "log-opt": "log-opts",
    "insecure-registry": "insecure-registries", "feature": "features", "default-ulimit": "default-ulimits",
    "storage-opt": "storage-opts", "label": "labels",
}  # fmt: skip
MANY = ("hosts", "exec-opts", "log-opts", "insecure-registries", "default-ulimits", "storage-opts", "labels")
DOORS = ("sshd", "cron", "crond", "atd")


class Running(NamedTuple):
    """A dockerd and its process."""

    pid: int
    daemon: Daemon


def daemons(docker_socket: str) -> tuple[Running | None, list[Running]]:
    """The dockerd that listens on the jobs' socket, None where there is none; and the others of the node."""
    found = [Running(process.pid, _daemon(process)) for process in _called("dockerd")]
    ours = [one for one in found if _serves(one.daemon, docker_socket)]
    return (ours[0] if ours else None), [one for one in found if one not in ours]


def _serves(daemon: Daemon, path: str) -> bool:
    """Does it listen there? Its default, and what systemd hands it (fd://), is /run/docker.sock."""
    hosts = daemon.options.get("hosts") or ["fd://"]
    places = DEFAULT_SOCKETS if path in DEFAULT_SOCKETS else (path,)
    return any(f"unix://{place}" in hosts for place in places) or (path in DEFAULT_SOCKETS and "fd://" in hosts)


def _called(*names: str) -> list[psutil.Process]:
    """Root's processes of these names, the oldest first. A name is not proof: any user may take it, but not root."""
    every = psutil.process_iter(["name", "uids"])
    return [one for one in every if one.info["name"] in names and one.info["uids"] and one.info["uids"].real == 0]


def _daemon(process: psutil.Process) -> Daemon:
    try:
        options = from_command_line(process.cmdline()[1:])
        connections = process.net_connections() if hasattr(process, "net_connections") else process.connections()
        tcp = [f"{one.laddr.ip}:{one.laddr.port}" for one in connections if one.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return NONE
    file = str(options.get("config-file", DEFAULT))
    try:
        of_file = json.loads(linux.read(file))
    except (OSError, ValueError):
        of_file = {}
    flags = frozenset(options)
    options = {**of_file, **options}
    figures = str(options.get("metrics-addr", ""))  # no API is there
    return Daemon(options, file, tuple(address for address in tcp if address != figures), flags)


def from_command_line(words: Iterable[str]) -> dict[str, Any]:
    """dockerd's options by the names of its configuration file. Pure."""
    options: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            name = NAMES.get(name, name)
            options.setdefault(name, [] if name in MANY else {} if name == "features" else True)
            if not equals:
                continue
        else:
            value = word
        if name in MANY:
            options[name].append(value)
        elif name == "features":
            feature, _, state = value.partition("=")
            options[name][feature] = state != "false"
        elif name:
            options[name] = (
                value not in ("false", "False", "0") if value in ("true", "True", "1", "false", "False", "0") else value
            )
        name = ""
    return options


def running() -> set[str]:
    """Which of the daemons that let people in, or run things for them, are there."""
    return {process.info["name"] for process in _called(*DOORS)}


def pids(dockerd: int) -> dict[str, int]:
    """The processes of broker, dockerd and slurmd, where they run."""
    found = {"dockerd": dockerd} if dockerd else {}
    for process in _called("slurmd"):
        found.setdefault("slurmd", process.pid)
    for process in _called("slurm-hooks", "python3"):
        try:
            if process.cmdline()[-2:] in (["/usr/bin/slurm-hooks", "broker"], ["slurm-hooks", "broker"]):
                found.setdefault("broker", process.pid)
        except psutil.Error:
            continue
    return found


def views(of: Mapping[str, int], data_root: str) -> dict[str, View]:
    """What each of them sees of the mounts that come to the node: dockerd of stages, the others of its images."""
    found = {}
    for name, pid in of.items():
        try:
            own = os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/1/ns/mnt")
            text = linux.read(f"/proc/{pid}/mountinfo")
        except OSError:
            continue
        found[name] = View(own, not own or hears(text, config.RUN if name == "dockerd" else data_root))
    return found


def hears(mountinfo: str, path: str) -> bool:
    """Is the mount that `path` lies on a slave of another (mount_namespaces(7), `master:`)? Pure."""
    tags: list[str] = []
    best = ""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        point = fields[4]
        if f"{path}/".startswith(f"{point.rstrip('/')}/") and len(point) >= len(best):
            best, tags = point, fields[6 : fields.index("-")]
    return any(tag.startswith("master:") for tag in tags)


def sees(pid: int, path: str) -> bool:
    """Is `path` the same directory for a process as for the node? True where there is no such process."""
    try:
        there, here = os.stat(f"/proc/{pid}/root{path}") if pid else None, os.stat(path)
    except OSError:
        return not os.path.exists(path)
    return there is None or (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

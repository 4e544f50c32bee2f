# SPDX-License-Identifier: Apache-2.0
"""The docker command line as data: each flag of run, create and exec, and what the client makes of it. Pure.

Source: docker CLI 28.5, cli/command/container/opts.go and exec.go; older clients have fewer. What is parsed here is
explained, never run: the real client sends its own request, and the broker judges that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slurm_hooks.errors import BadRequest

Body = dict[str, Any]

# flag → (how its value is read, the unit that it fills). `client`: the client's own, nothing is sent.
RUN: dict[str, tuple[str, str]] = {
    "add-host": ("list", "HostConfig.ExtraHosts"), "annotation": ("map", "HostConfig.Annotations"),
    "attach": ("attach", "AttachStdout"), "blkio-weight": ("number", "HostConfig.BlkioWeight"),
    "blkio-weight-device": ("weight", "HostConfig.BlkioWeightDevice"), "cap-add": ("list", "HostConfig.CapAdd"),
    "cap-drop": ("list", "HostConfig.CapDrop"), "cgroup-parent": ("text", "HostConfig.CgroupParent"),
    "cgroupns": ("text", "HostConfig.CgroupnsMode"), "cidfile": ("text", "HostConfig.ContainerIDFile"),
    "cpu-count": ("number", "HostConfig.CpuCount"), "cpu-percent": ("number", "HostConfig.CpuPercent"),
    "cpu-period": ("number", "HostConfig.CpuPeriod"), "cpu-quota": ("number", "HostConfig.CpuQuota"),
    "cpu-rt-period": ("number", "HostConfig.CpuRealtimePeriod"),
    "cpu-rt-runtime": ("number", "HostConfig.CpuRealtimeRuntime"), "cpu-shares": ("number", "HostConfig.CpuShares"),
    "cpus": ("cpus", "HostConfig.NanoCpus"), "cpuset-cpus": ("text", "HostConfig.CpusetCpus"),
    "cpuset-mems": ("text", "HostConfig.CpusetMems"), "detach": ("client", ""), "detach-keys": ("client=", ""),
    "device": ("device", "HostConfig.Devices"), "device-cgroup-rule": ("list", "HostConfig.DeviceCgroupRules"),
    "device-read-bps": ("rate", "HostConfig.BlkioDeviceReadBps"),
    "device-read-iops": ("rate", "HostConfig.BlkioDeviceReadIOps"),
    "device-write-bps": ("rate", "HostConfig.BlkioDeviceWriteBps"),
    "device-write-iops": ("rate", "HostConfig.BlkioDeviceWriteIOps"), "disable-content-trust": ("client", ""),
    "dns": ("list", "HostConfig.Dns"), "dns-opt": ("list", "HostConfig.DnsOptions"),
    "dns-option": ("list", "HostConfig.DnsOptions"), "dns-search": ("list", "HostConfig.DnsSearch"),
    "domainname": ("text", "Domainname"), "entrypoint": ("entrypoint", "Entrypoint"), "env": ("list", "Env"),
    "env-file": ("client=", ""), "expose": ("set", "ExposedPorts"), "gpus": ("gpus", "HostConfig.DeviceRequests"),
    "group-add": ("list", "HostConfig.GroupAdd"), "health-cmd": ("health", "Healthcheck"),
    "health-interval": ("health", "Healthcheck"), "health-retries": ("health", "Healthcheck"),
    "health-start-interval": ("health", "Healthcheck"), "health-start-period": ("health", "Healthcheck"),
    "health-timeout": ("health", "Healthcheck"), "hostname": ("text", "Hostname"), "init": ("flag", "HostConfig.Init"),
    "interactive": ("flag", "OpenStdin"), "io-maxbandwidth": ("bytes", "HostConfig.IOMaximumBandwidth"),
    "io-maxiops": ("number", "HostConfig.IOMaximumIOps"), "ip": ("endpoint", "NetworkingConfig"),
    "ip6": ("endpoint", "NetworkingConfig"), "ipc": ("text", "HostConfig.IpcMode"),
    "isolation": ("text", "HostConfig.Isolation"), "kernel-memory": ("bytes", "HostConfig.KernelMemory"),
    "label": ("map", "Labels"), "label-file": ("client=", ""), "link": ("list", "HostConfig.Links"),
    "link-local-ip": ("endpoint", "NetworkingConfig"), "log-driver": ("log-driver", "HostConfig.LogConfig"),
    "log-opt": ("log-opt", "HostConfig.LogConfig"), "mac-address": ("text", "MacAddress"),
    "memory": ("bytes", "HostConfig.Memory"), "memory-reservation": ("bytes", "HostConfig.MemoryReservation"),
    "memory-swap": ("bytes", "HostConfig.MemorySwap"), "memory-swappiness": ("number", "HostConfig.MemorySwappiness"),
    "mount": ("mount", "HostConfig.Mounts"), "name": ("client=", ""), "net": ("network", "HostConfig.NetworkMode"),
    "net-alias": ("endpoint", "NetworkingConfig"), "network": ("network", "HostConfig.NetworkMode"),
    "network-alias": ("endpoint", "NetworkingConfig"), "no-healthcheck": ("no-health", "Healthcheck"),
    "oom-kill-disable": ("flag", "HostConfig.OomKillDisable"), "oom-score-adj": ("number", "HostConfig.OomScoreAdj"),
    "pid": ("text", "HostConfig.PidMode"), "pids-limit": ("number", "HostConfig.PidsLimit"),
    "platform": ("client=", ""), "privileged": ("flag", "HostConfig.Privileged"),
    "publish": ("publish", "HostConfig.PortBindings"), "publish-all": ("flag", "HostConfig.PublishAllPorts"),
    "pull": ("client=", ""), "quiet": ("client", ""), "read-only": ("flag", "HostConfig.ReadonlyRootfs"),
    "restart": ("restart", "HostConfig.RestartPolicy"), "rm": ("flag", "HostConfig.AutoRemove"),
    "runtime": ("text", "HostConfig.Runtime"), "security-opt": ("security", "HostConfig.SecurityOpt"),
    "shm-size": ("bytes", "HostConfig.ShmSize"), "sig-proxy": ("client", ""), "stop-signal": ("text", "StopSignal"),
    "stop-timeout": ("number", "StopTimeout"), "storage-opt": ("map", "HostConfig.StorageOpt"),
    "sysctl": ("map", "HostConfig.Sysctls"), "tmpfs": ("tmpfs", "HostConfig.Tmpfs"), "tty": ("flag", "Tty"),
    "ulimit": ("ulimit", "HostConfig.Ulimits"), "user": ("text", "User"), "userns": ("text", "HostConfig.UsernsMode"),
    "uts": ("text", "HostConfig.UTSMode"), "volume": ("volume", "HostConfig.Binds"),
    "volume-driver": ("text", "HostConfig.VolumeDriver"), "volumes-from": ("list", "HostConfig.VolumesFrom"),
    "workdir": ("text", "WorkingDir"),
}  # fmt: skip
EXEC: dict[str, tuple[str, str]] = {
    "detach": ("client", ""), "detach-keys": ("text", "DetachKeys"), "env": ("list", "Env"),
    "env-file": ("client=", ""), "interactive": ("flag", "AttachStdin"), "privileged": ("flag", "Privileged"),
    "tty": ("flag", "Tty"), "user": ("text", "User"), "workdir": ("text", "WorkingDir"),
}  # fmt: skip
SHORT = {
    "a": "attach", "c": "cpu-shares", "d": "detach", "e": "env", "h": "hostname", "i": "interactive", "l": "label",
    "m": "memory", "P": "publish-all", "p": "publish", "q": "quiet", "t": "tty", "u": "user", "v": "volume",
    "w": "workdir",
}  # fmt: skip
# Flags of `docker` itself that take a value.
GLOBAL = ("config", "context", "host", "log-level", "tlscacert", "tlscert", "tlskey", "c", "H", "l")
ALONE = ("flag", "client", "no-health")  # ways to read a flag that takes no value


@dataclass(frozen=True, slots=True)
class Use:
    """A flag as it was typed, and the part of the request that the client makes of it."""

    typed: str
    unit: str  # "": the client's own
    body: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, read: `docker VERB [flags] SUBJECT [arguments]`."""

    verb: str
    uses: tuple[Use, ...] = ()
    unknown: tuple[str, ...] = ()  # flags that are not in the table
    subject: str = ""  # image or container
    arguments: tuple[str, ...] = ()

    def body(self, uses: Iterable[Use] | None = None) -> Body:
        """The request that these uses (all, where none are named) make together."""
        whole: Body = {}
        for use in self.uses if uses is None else uses:
            _merge(whole, use.body)
        return whole


def read(words: Sequence[str], directory: str = "/") -> Command:
    """Read a command line that begins with `docker`.

    Args:
        directory: the current one, from which the client resolves a relative source of -v.

    Raises:
        BadRequest: it is none, or a value is not what its flag takes.
    """
    rest = list(words)
    if not rest or rest.pop(0).rpartition("/")[2] != "docker":
        raise BadRequest("explain", "a docker command is wanted", "For example: slurm-hooks explain 'docker run img'.")
    while rest and rest[0].startswith("-"):
        name, separator, _ = rest.pop(0).lstrip("-").partition("=")
        if name in GLOBAL and not separator and rest:
            rest.pop(0)
    if rest[:1] == ["container"] and len(rest) > 1:
        rest.pop(0)
    verb = rest.pop(0) if rest else ""
    if verb not in ("run", "create", "exec"):
        return Command(" ".join([verb, *rest[:1]]).strip(), arguments=tuple(rest))
    return _with_flags(verb, rest, EXEC if verb == "exec" else RUN, directory)


def _with_flags(verb: str, rest: list[str], table: dict[str, tuple[str, str]], directory: str) -> Command:
    uses: list[Use] = []
    unknown: list[str] = []
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        for name, dashed, given in _names(word):
            if name not in table:
                unknown.append(dashed)
                continue
            how, unit = table[name]
            if how in ALONE:
                value = given or "true"
                text = dashed if given is None else f"{dashed}={given}"
            else:
                if given is None and not rest:
                    raise BadRequest(dashed, "needs a value", f"See docker {verb} --help.")
                value = rest.pop(0) if given is None else given
                text = f"{dashed} {value}"
            uses.append(Use(text, unit, _part(how, unit, name, value, directory)))
    if not rest:
        what = "a container" if verb == "exec" else "an image"
        raise BadRequest(f"docker {verb}", f"{what} is wanted", f"See docker {verb} --help.")
    return Command(verb, tuple(uses), tuple(unknown), rest[0], tuple(rest[1:]))


def _names(word: str) -> list[tuple[str, str, str | None]]:
    """(name, as typed, value or None) of a word: `--a=b` is one flag, `-it` are two, `-eA=1` is one with a value."""
    if word.startswith("--"):
        name, separator, value = word[2:].partition("=")
        return [(name, f"--{name}", value if separator else None)]
    found: list[tuple[str, str, str | None]] = []
    for at, letter in enumerate(word[1:], 1):
        name = SHORT.get(letter, letter)
        rest = word[at + 1 :]
        if name in RUN and RUN[name][0] in ALONE and not rest.startswith("="):
            found.append((name, f"-{letter}", None))
            continue
        found.append((name, f"-{letter}", rest.removeprefix("=") if rest else None))
        break
    return found


def _part(how: str, unit: str, name: str, value: str, directory: str) -> Body:
    if not unit:
        return {}
    part: Body = {}
    for place, content in READERS[how](unit, name, value, directory).items():
        inner = place.removeprefix("HostConfig.")
        (part if inner == place else part.setdefault("HostConfig", {}))[inner] = content
    return part


def _merge(whole: Body, part: Body) -> None:
    for key, value in part.items():
        have = whole.get(key)
        if isinstance(have, dict) and isinstance(value, dict):
            _merge(have, value)
        elif isinstance(have, list) and isinstance(value, list) and key != "Test":
            whole[key] = [*have, *value]
        else:
            whole[key] = dict(value) if isinstance(value, dict) else value


# -- how values are read ---------------------------------------------------------------------------

Reader = Callable[[str, str, str, str], Body]
SIZE = re.compile(r"(-?\d+(?:\.\d+)?) ?([bkmgtp]?)(?:i?b)?", re.I)


def _number(unit: str, name: str, value: str, directory: str) -> Body:
    if not re.fullmatch(r"-?\d{1,18}", value):
        raise BadRequest(f"--{name} {value}", "not a number")
    return {unit: int(value)}


def _bytes(unit: str, name: str, value: str, directory: str) -> Body:
    match = SIZE.fullmatch(value)
    if not match:
        raise BadRequest(f"--{name} {value}", "not a size", "Write 512m or 4g.")
    return {unit: int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower().replace("b", "") or " "))}


def _cpus(unit: str, name: str, value: str, directory: str) -> Body:
    if not re.fullmatch(r"-?\d{1,6}(\.\d{1,9})?", value):
        raise BadRequest(f"--{name} {value}", "not a number of processors", "Write 2 or 1.5.")
    return {unit: int(float(value) * 10**9)}


def _volume(unit: str, name: str, value: str, directory: str) -> Body:
    source, separator, target = value.partition(":")
    if not separator:
        return {"Volumes": {value: {}}}
    if source.startswith("."):
        parts: list[str] = []
        for part in f"{directory}/{source}".split("/"):
            parts = parts[:-1] if part == ".." else parts if part in ("", ".") else [*parts, part]
        source = "/" + "/".join(parts)
    return {unit: [f"{source}:{target}"]}


def _mount(unit: str, name: str, value: str, directory: str) -> Body:
    names = {"type": "Type", "source": "Source", "src": "Source", "target": "Target", "destination": "Target",
             "dst": "Target", "readonly": "ReadOnly", "ro": "ReadOnly", "consistency": "Consistency"}  # fmt: skip
    mount: Body = {"Type": "volume"}
    for part in value.split(","):
        key, separator, text = part.partition("=")
        if key in ("readonly", "ro"):
            mount["ReadOnly"] = text in ("", "true", "1")
        elif key in names and separator:
            mount[names[key]] = text
        else:
            kind, _, option = key.partition("-")
            options = mount.setdefault(f"{kind.capitalize()}Options", {})
            options["".join(word.capitalize() for word in option.split("-"))] = text or True
    return {unit: [mount]}


def _security(unit: str, name: str, value: str, directory: str) -> Body:
    if value == "systempaths=unconfined":
        return {"HostConfig.MaskedPaths": [], "HostConfig.ReadonlyPaths": []}
    return {unit: [value]}


def _device(unit: str, name: str, value: str, directory: str) -> Body:
    host, _, rest = value.partition(":")
    place, _, rights = rest.partition(":")
    return {unit: [{"PathOnHost": host, "PathInContainer": place or host, "CgroupPermissions": rights or "rwm"}]}


def _publish(unit: str, name: str, value: str, directory: str) -> Body:
    host, _, port = value.rpartition(":")
    inside = port if "/" in port else f"{port}/tcp"
    return {unit: {inside: [{"HostIp": host.rpartition(":")[0], "HostPort": host.rpartition(":")[2]}]}}


def _gpus(unit: str, name: str, value: str, directory: str) -> Body:
    request: Body = {"Capabilities": [["gpu"]]}
    if value.startswith("device="):
        request["DeviceIDs"] = value.removeprefix("device=").split(",")
    else:
        request["Count"] = int(value) if value.isascii() and value.isdigit() else -1
    return {unit: [request]}


def _ulimit(unit: str, name: str, value: str, directory: str) -> Body:
    key, _, limits = value.partition("=")
    soft, _, hard = limits.partition(":")
    if not re.fullmatch(r"-?\d{1,18}", soft) or not re.fullmatch(r"(-?\d{1,18})?", hard):
        raise BadRequest(f"--{name} {value}", "not NAME=SOFT:HARD")
    return {unit: [{"Name": key, "Soft": int(soft), "Hard": int(hard or soft)}]}


def _path_and(key: str) -> Reader:
    def read_pair(unit: str, name: str, value: str, directory: str) -> Body:
        path, _, figure = value.rpartition(":")
        number = _bytes(unit, name, figure, directory)[unit]
        return {unit: [{"Path": path, key: number}]}

    return read_pair


def _health(unit: str, name: str, value: str, directory: str) -> Body:
    return {unit: {"Test": ["CMD-SHELL", value]} if name == "health-cmd" else {name: value}}


def _restart(unit: str, name: str, value: str, directory: str) -> Body:
    policy, _, most = value.partition(":")
    return {unit: {"Name": policy, "MaximumRetryCount": int(most) if most.isascii() and most.isdigit() else 0}}


def _flag(unit: str, name: str, value: str, directory: str) -> Body:
    if value.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise BadRequest(f"--{name}={value}", "neither true nor false")
    return {unit: value.lower() in ("1", "t", "true")}


def _map(unit: str, name: str, value: str, directory: str) -> Body:
    key, _, content = value.partition("=")
    return {unit: {key: content}}


READERS: dict[str, Reader] = {
    "text": lambda unit, name, value, directory: {unit: value},
    "list": lambda unit, name, value, directory: {unit: [value]},
    "set": lambda unit, name, value, directory: {unit: {value: {}}},
    "entrypoint": lambda unit, name, value, directory: {unit: [value] if value else []},
    "attach": lambda unit, name, value, directory: {f"Attach{value.capitalize()}": True},
    "network": lambda unit, name, value, directory: {unit: value.partition(",")[0].removeprefix("name=")},
    "endpoint": lambda unit, name, value, directory: {unit: {"EndpointsConfig": {"default": {name: [value]}}}},
    "log-driver": lambda unit, name, value, directory: {unit: {"Type": value}},
    "log-opt": lambda unit, name, value, directory: {unit: {"Config": _map("_", name, value, directory)["_"]}},
    "tmpfs": lambda unit, name, value, directory: {unit: {value.partition(":")[0]: value.partition(":")[2]}},
    "no-health": lambda unit, name, value, directory: {unit: {"Test": ["NONE"]}},
    "map": _map, "flag": _flag, "number": _number, "bytes": _bytes, "cpus": _cpus, "volume": _volume, "mount": _mount,
    "security": _security, "device": _device, "publish": _publish, "gpus": _gpus, "ulimit": _ulimit,
    "rate": _path_and("Rate"), "weight": _path_and("Weight"), "health": _health, "restart": _restart,
}  # fmt: skip

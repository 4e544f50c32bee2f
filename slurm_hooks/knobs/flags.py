# SPDX-License-Identifier: Apache-2.0
"""A unit of a request in the words of the command line: refusals speak of what a person typed. Pure."""

from __future__ import annotations

from typing import Any

# What a person typed for a unit, where it is not the unit's own name.
FLAGS = {
    "User": "--user", "Hostname": "--hostname", "Domainname": "--domainname", "ExposedPorts": "--expose",
    "Env": "--env", "Healthcheck": "--health-cmd", "Volumes": "-v with a volume", "WorkingDir": "--workdir",
    "MacAddress": "--mac-address", "Labels": "--label", "StopSignal": "--stop-signal", "StopTimeout": "--stop-timeout",
    "HostConfig.Binds": "-v", "HostConfig.Mounts": "--mount", "HostConfig.Tmpfs": "--tmpfs",
    "HostConfig.LogConfig": "--log-driver, --log-opt", "HostConfig.NetworkMode": "--network",
    "HostConfig.PortBindings": "-p", "HostConfig.PublishAllPorts": "-P", "HostConfig.RestartPolicy": "--restart",
    "HostConfig.VolumeDriver": "--volume-driver", "HostConfig.VolumesFrom": "--volumes-from",
    "HostConfig.KernelMemory": "--kernel-memory", "HostConfig.BlkioWeightDevice": "--blkio-weight-device",
    "HostConfig.BlkioDeviceReadBps": "--device-read-bps", "HostConfig.BlkioDeviceWriteBps": "--device-write-bps",
    "HostConfig.BlkioDeviceReadIOps": "--device-read-iops", "HostConfig.BlkioDeviceWriteIOps": "--device-write-iops",
    "HostConfig.CpuRealtimePeriod": "--cpu-rt-period", "HostConfig.CpuRealtimeRuntime": "--cpu-rt-runtime",
    "HostConfig.Annotations": "--annotation", "HostConfig.CapAdd": "--cap-add", "HostConfig.CapDrop": "--cap-drop",
    "HostConfig.CgroupnsMode": "--cgroupns", "HostConfig.Dns": "--dns", "HostConfig.DnsOptions": "--dns-option",
    "HostConfig.DnsSearch": "--dns-search", "HostConfig.ExtraHosts": "--add-host", "HostConfig.GroupAdd": "--group-add",
    "HostConfig.IpcMode": "--ipc", "HostConfig.Links": "--link", "HostConfig.OomScoreAdj": "--oom-score-adj",
    "HostConfig.PidMode": "--pid", "HostConfig.Privileged": "--privileged", "HostConfig.ReadonlyRootfs": "--read-only",
    "HostConfig.StorageOpt": "--storage-opt", "HostConfig.UTSMode": "--uts", "HostConfig.UsernsMode": "--userns",
    "HostConfig.ShmSize": "--shm-size", "HostConfig.Sysctls": "--sysctl", "HostConfig.Runtime": "--runtime",
    "HostConfig.Isolation": "--isolation", "HostConfig.CpuShares": "--cpu-shares", "HostConfig.Memory": "--memory",
    "HostConfig.NanoCpus": "--cpus", "HostConfig.CgroupParent": "--cgroup-parent",
    "HostConfig.BlkioWeight": "--blkio-weight", "HostConfig.CpuPeriod": "--cpu-period",
    "HostConfig.CpuQuota": "--cpu-quota", "HostConfig.CpusetCpus": "--cpuset-cpus",
    "HostConfig.CpusetMems": "--cpuset-mems", "HostConfig.Devices": "--device",
    "HostConfig.DeviceCgroupRules": "--device-cgroup-rule", "HostConfig.DeviceRequests": "--gpus",
    "HostConfig.MemoryReservation": "--memory-reservation", "HostConfig.MemorySwap": "--memory-swap",
    "HostConfig.MemorySwappiness": "--memory-swappiness", "HostConfig.OomKillDisable": "--oom-kill-disable",
    "HostConfig.PidsLimit": "--pids-limit", "HostConfig.Ulimits": "--ulimit", "HostConfig.Init": "--init",
    "HostConfig.MaskedPaths": "--security-opt systempaths", "HostConfig.ReadonlyPaths": "--security-opt systempaths",
}  # fmt: skip
# Flags that people write with `=`, as docker's documentation does.
EQUALS = ("--pid", "--ipc", "--uts", "--userns", "--cgroup-parent", "--cgroupns", "--security-opt")
IN_BYTES = ("HostConfig.ShmSize", "HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP")
MOST = 60  # characters of a value


def flag(unit: str) -> str:
    """The flag: `HostConfig.SecurityOpt:label` is `--security-opt label`."""
    name, _, tag = unit.partition(":")
    if name == "HostConfig.SecurityOpt":
        return f"--security-opt {tag}"
    return FLAGS.get(unit, FLAGS.get(name, name))


def typed(unit: str, value: Any) -> str:
    """The flag with what was given to it, as far as that is short: `-p 80:80`, `--pid=host`, `--privileged`."""
    word, text = flag(unit), _text(unit, value)
    if not text or "," in word:
        return word
    joint = "=" if word.split()[0] in EQUALS else " "
    return f"{word}{joint}{text if len(text) <= MOST else f'{text[:MOST]}…'}"


def in_bytes(number: int) -> str:
    """A size as people type it: 1g, 64m, 100."""
    for shift, unit in ((30, "g"), (20, "m"), (10, "k")):
        if number > 0 and number % (1 << shift) == 0:
            return f"{number >> shift}{unit}"
    return str(number)


def _text(unit: str, value: Any) -> str:
    if isinstance(value, bool) or (unit.startswith("HostConfig.SecurityOpt:") and value in ("", "true")):
        return ""
    if isinstance(value, int):
        return in_bytes(value) if unit in IN_BYTES else str(value)
    if isinstance(value, str):
        return value
    if unit == "HostConfig.PortBindings":
        return _port(value)
    if isinstance(value, dict):
        return next((f"{key}={one}" if one else f"{key}" for key, one in value.items()), "")
    if unit == "HostConfig.CapAdd":
        return ",".join(map(str, value))
    first = value[0] if isinstance(value, list) and value else ""
    return first if isinstance(first, str) else _entry(first) if isinstance(first, dict) else ""


def _port(bindings: Any) -> str:
    for port, hosts in bindings.items() if isinstance(bindings, dict) else ():
        first = hosts[0] if isinstance(hosts, list) and hosts else {}
        host = first.get("HostPort", "") if isinstance(first, dict) else ""
        inside = str(port).removesuffix("/tcp")
        return f"{host}:{inside}" if host else inside
    return ""


def _entry(entry: dict[str, Any]) -> str:
    """An object of a list: a device, a limit, a rate, GPUs."""
    match entry:
        case {"PathOnHost": str(path)}:
            return path
        case {"Name": str(name), "Soft": int(soft), "Hard": int(hard)}:
            return f"{name}={soft}:{hard}"
        case {"Path": str(path), "Rate": int(bound)} | {"Path": str(path), "Weight": int(bound)}:
            return f"{path}:{bound}"
        case {"DeviceIDs": [str(first), *_]}:
            return f"device={first}"
        case {"Count": -1}:
            return "all"
        case {"Count": int(count)}:
            return str(count)
    return ""

# SPDX-License-Identifier: Apache-2.0
"""Each line of the policy does what it says: the printed table and the behaviour are one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurm_hooks import knobs
from slurm_hooks.broker import model
from slurm_hooks.errors import Refused
from slurm_hooks.knobs import execs, seccomp
from slurm_hooks.knobs.contract import Row, unit_of
from slurm_hooks.knobs.flags import typed
from slurm_hooks.settings import ContainerLimits, Settings
from tests.unit.policy import JOB, MOBY, SITE, cli, decide, sent

ROWS = {row.unit: row for name in knobs.KNOBS for row in knobs.rows(name)}
SECURITY = "HostConfig.SecurityOpt:"
MOUNT = {"Type": "bind", "Source": "/a", "Target": "/b"}

# A wish for each unit that is denied: what the docker CLI sends for the flag.
DENIED: dict[str, Any] = {
    "ArgsEscaped": True,
    "HostConfig.Annotations": {"a": "b"},
    "HostConfig.BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}],
    "HostConfig.BlkioDeviceReadIOps": [{"Path": "/dev/sda", "Rate": 1}],
    "HostConfig.BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": 1}],
    "HostConfig.BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 1}],
    "HostConfig.BlkioWeight": 500,
    "HostConfig.BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 500}],
    "HostConfig.CapAdd": ["SYS_ADMIN", "NET_ADMIN"],
    "HostConfig.Capabilities": ["CAP_SYS_ADMIN"],
    "HostConfig.Cgroup": "container:other",
    "HostConfig.CpuCount": 1,
    "HostConfig.CpuPercent": 10,
    "HostConfig.CpuRealtimePeriod": 1000,
    "HostConfig.CpuRealtimeRuntime": 950,
    "HostConfig.CpusetCpus": "0-1",
    "HostConfig.CpusetMems": "0",
    "HostConfig.DeviceCgroupRules": ["a *:* rwm"],
    "HostConfig.Dns": ["1.1.1.1"],
    "HostConfig.DnsOptions": ["use-vc"],
    "HostConfig.DnsSearch": ["example.org"],
    "HostConfig.ExtraHosts": ["a:10.0.0.1"],
    "HostConfig.IOMaximumBandwidth": 1,
    "HostConfig.IOMaximumIOps": 1,
    "HostConfig.Isolation": "process",
    "HostConfig.KernelMemory": 1 << 26,
    "HostConfig.KernelMemoryTCP": 1 << 26,
    "HostConfig.Links": ["other"],
    "HostConfig.MemorySwappiness": 60,
    "HostConfig.OomKillDisable": True,
    "HostConfig.OomScoreAdj": -1000,
    "HostConfig.PidMode": "host",
    "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
    "HostConfig.Privileged": True,
    "HostConfig.PublishAllPorts": True,
    "HostConfig.Runtime": "runc",
    "HostConfig.SecurityOpt:disable": "true",
    "HostConfig.SecurityOpt:label": "disable",
    "HostConfig.SecurityOpt:writable-cgroups": "true",
    "HostConfig.StorageOpt": {"size": "1g"},
    "HostConfig.Sysctls": {"net.ipv4.ip_forward": "1"},
    "HostConfig.UTSMode": "host",
    "HostConfig.VolumeDriver": "local",
    "HostConfig.VolumesFrom": ["other"],
    "MacAddress": "02:42:ac:11:00:02",
    "OnBuild": ["RUN true"],
    "Shell": ["/bin/sh"],
}
# A wish for each part that is denied.
DENIED_PARTS: dict[str, dict[str, Any]] = {
    "Labels:slurm-hooks.": {"Labels": {"slurm-hooks.job": "1"}},
    "NetworkingConfig.EndpointsConfig{}": {
        "NetworkingConfig": {"EndpointsConfig": {"default": {"MacAddress": "02:42:00:00:00:01"}}}
    },
    **{f"HostConfig.Binds:{top}": {"HostConfig_Binds": [f"/a:{top}/x"]} for top in ("/proc", "/sys", "/dev")},
    **{
        f"HostConfig.Mounts:{top}": {"HostConfig_Mounts": [{**MOUNT, "Target": f"{top}/x"}]}
        for top in ("/proc", "/sys", "/dev")
    },
    **{f"HostConfig.Tmpfs:{top}": {"HostConfig_Tmpfs": {f"{top}/x": ""}} for top in ("/proc", "/sys", "/dev")},
    **{
        f"HostConfig.Mounts[].BindOptions.{name}": {"HostConfig_Mounts": [{**MOUNT, "BindOptions": {name: True}}]}
        for name in ("NonRecursive", "CreateMountpoint", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive")
    },
    **{
        f"HostConfig.Mounts[].{name}": {"HostConfig_Mounts": [{**MOUNT, name: {"a": "b"}}]}
        for name in ("VolumeOptions", "ImageOptions", "TmpfsOptions", "ClusterOptions")
    },
}
# What may be asked of a forced unit: each is refused, or the value is ours all the same.
FORCED: dict[str, tuple[Any, ...]] = {
    "User": ("0", "0:0", "root", "1001", "1001:1002", "1001:0", "1002"),
    "HostConfig.GroupAdd": (["0"], ["2000"], ["1002"], ["root"]),
    "HostConfig.CapDrop": (["ALL"], ["CHOWN"], []),
    "HostConfig.SecurityOpt:no-new-privileges": ("true", "false", "0"),
    "HostConfig.SecurityOpt:seccomp": ("unconfined", "builtin", seccomp.NAME, "{}"),
    "HostConfig.SecurityOpt:apparmor": ("unconfined", "docker-default", "slurm-hooks-container", ""),
    "HostConfig.CgroupParent": ("/", JOB.cgroup, "/other"),
    "HostConfig.CgroupnsMode": ("host", "private"),
    "HostConfig.UsernsMode": ("host",),
    "HostConfig.IpcMode": ("host", "shareable", "none", "container:x", "private"),
    "HostConfig.NetworkMode": ("host", "bridge", "default", "none", "mine", "container:x"),
    "HostConfig.MaskedPaths": ([], ["/x"]),
    "HostConfig.ReadonlyPaths": ([], ["/x"]),
    "HostConfig.LogConfig": ({"Type": "syslog"}, {"Type": "json-file"}, {"Type": "", "Config": {"max-size": "9g"}}),
    "HostConfig.RestartPolicy": ({"Name": "always"}, {"Name": "no"}, {"Name": "on-failure", "MaximumRetryCount": 3}),
    "HostConfig.ReadonlyRootfs": (True, False),
    "Healthcheck": ({"Test": ["CMD", "true"]}, {"Test": ["NONE"]}, {"Interval": 1}),
    "HostConfig.Mounts[].Type": ("bind", "volume", "tmpfs", "image", "cluster", "npipe"),
    "HostConfig.Mounts[].BindOptions.Propagation": ("rprivate", "private", "rshared", "slave", "shared"),
}
LOGS = {"Type": "json-file", "Config": {"max-size": "8192k", "max-file": "2"}}
# (within, above) of a capped unit, with the fields that they need beside them.
CAPPED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "HostConfig.PidsLimit": ({"HostConfig_PidsLimit": 1024}, {"HostConfig_PidsLimit": 1025}),
    "StopTimeout": ({"StopTimeout": 300}, {"StopTimeout": 301}),
    "HostConfig.ShmSize": ({"HostConfig_ShmSize": JOB.memory}, {"HostConfig_ShmSize": 1 << 50}),
    "HostConfig.Ulimits": (
        {"HostConfig_Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}]},
        {"HostConfig_Ulimits": [{"Name": "rtprio", "Soft": 9, "Hard": 9}]},
    ),
    "HostConfig.MemorySwap": (
        {"HostConfig_Memory": 1 << 26, "HostConfig_MemorySwap": 1 << 26},
        {"HostConfig_Memory": 1 << 26, "HostConfig_MemorySwap": (1 << 26) + 1},
    ),
    "HostConfig.Devices": (
        {
            "HostConfig_Devices": [
                {"PathOnHost": "/dev/nvidia2", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}
            ]
        },
        {"HostConfig_Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}]},
    ),
}
# A wish that is capped and written anew as another unit: tests/unit/test_devices.py.
CAPPED_ELSEWHERE = {"HostConfig.DeviceRequests"}
# A wish that is taken and not passed on.
DROPPED: dict[str, dict[str, Any]] = {
    "NetworkingConfig": {"NetworkingConfig": {"EndpointsConfig": {"bridge": {}}}},
    "NetworkDisabled": {"NetworkDisabled": True},
    "ExposedPorts": {"ExposedPorts": {"80/tcp": {}}},
    "HostConfig.ContainerIDFile": {"HostConfig_ContainerIDFile": "/tmp/id"},
    "Volumes": {"Volumes": {"/b": {}}, "HostConfig_Binds": ["/a:/b"]},
    "HostConfig.Mounts[].Consistency": {"HostConfig_Mounts": [{**MOUNT, "Consistency": "cached"}]},
}
# A wish that passes as it is: unit → (fields, what dockerd is then asked, if that is written otherwise).
ALLOWED: dict[str, tuple[dict[str, Any], Any]] = {
    **{name: ({name: True}, True) for name in ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin")},
    "StdinOnce": ({"StdinOnce": True}, True),
    "HostConfig.ConsoleSize": ({"HostConfig_ConsoleSize": [24, 80]}, [24, 80]),
    "Cmd": ({"Cmd": ["a", "b"]}, ["a", "b"]),
    "Entrypoint": ({"Entrypoint": ["a"]}, ["a"]),
    "Env": ({"Env": ["A=1", "B"]}, ["A=1", "B"]),
    "WorkingDir": ({"WorkingDir": "/w"}, "/w"),
    "Hostname": ({"Hostname": "a"}, "a"),
    "Domainname": ({"Domainname": "a.b"}, "a.b"),
    "Labels": ({"Labels": {"a": "b"}}, {"a": "b", "slurm-hooks.job": JOB.key, "slurm-hooks.nonce": JOB.nonce}),
    "Image": ({"Image": "img:1"}, "img:1"),
    "StopSignal": ({"StopSignal": "SIGINT"}, "SIGINT"),
    "HostConfig.AutoRemove": ({"HostConfig_AutoRemove": True}, True),
    "HostConfig.Init": ({"HostConfig_Init": True}, True),
    **{
        unit: ({unit.replace(".", "_"): 1 << 26}, 1 << 26)
        for unit in (
            "HostConfig.Memory", "HostConfig.MemoryReservation", "HostConfig.NanoCpus", "HostConfig.CpuShares",
            "HostConfig.CpuQuota", "HostConfig.CpuPeriod",
        )
    },
    "HostConfig.Mounts[].Source": ({"HostConfig_Mounts": [MOUNT]}, "/stage/0"),
    "HostConfig.Mounts[].Target": ({"HostConfig_Mounts": [MOUNT]}, "/b"),
}  # fmt: skip
# Wishes that are written anew: bind mounts become stages, a tmpfs gets our options (tests/unit/test_create.py).
WRITTEN_ANEW: dict[str, dict[str, Any]] = {
    "HostConfig.Binds": {"HostConfig_Binds": ["/a:/b"]},
    "HostConfig.Mounts": {"HostConfig_Mounts": [MOUNT]},
    "HostConfig.Mounts[].ReadOnly": {"HostConfig_Mounts": [{**MOUNT, "ReadOnly": True}]},  # by its stage
    "HostConfig.Tmpfs": {"HostConfig_Tmpfs": {"/b": "size=1m"}},
}


def of(action: str) -> list[str]:
    return [unit for unit, row in ROWS.items() if row.action == action]


def changed(unit: str, value: Any) -> dict[str, Any]:
    """The docker CLI's body with a wish for a unit or a part of a mount."""
    if unit.startswith(SECURITY):
        return cli(HostConfig_SecurityOpt=[f"{unit.removeprefix(SECURITY)}={value}"])
    if unit.startswith("HostConfig.Mounts[]."):
        *outer, name = unit.removeprefix("HostConfig.Mounts[].").split(".")
        return cli(HostConfig_Mounts=[{**MOUNT, **({outer[0]: {name: value}} if outer else {name: value})}])
    return cli(**{unit.replace(".", "_"): value})


def held(body: dict[str, Any], unit: str) -> Any:
    """What our own request says for a unit; None where it says nothing."""
    if unit.startswith(SECURITY):
        said = dict(option.partition("=")[::2] for option in body["HostConfig"]["SecurityOpt"])
        return said.get(unit.removeprefix(SECURITY))
    value: Any = body
    for name in unit.split("."):
        value = (value or {}).get(name.removesuffix("[]"))
        value = value[0] if name.endswith("[]") and value else value
    return value


def value_of(row: Row) -> Any:
    """The value that a row forces, for the job of these tests."""
    if row.unit == "HostConfig.LogConfig":
        return LOGS
    if row.unit.startswith("HostConfig.LogConfig."):
        return LOGS[row.unit.rpartition(".")[2]]
    if row.unit == seccomp.UNIT:
        return seccomp.PROFILES["allow"]
    if row.unit == "HostConfig.GroupAdd":
        return [str(group) for group in JOB.groups if group != JOB.gid]
    if row.unit in ("HostConfig.MaskedPaths", "HostConfig.ReadonlyPaths"):
        return row.value.split()
    text = row.value.replace("<uid>", str(JOB.uid)).replace("<gid>", str(JOB.gid)).replace("<cgroup>", JOB.cgroup)
    return True if text == "true" and row.switch else json.loads(text) if text[0] in "[{" else text


def test_every_row_is_exercised_here() -> None:
    exercised = {*DENIED, *DENIED_PARTS, *FORCED, *CAPPED, *CAPPED_ELSEWHERE, *DROPPED, *ALLOWED, *WRITTEN_ANEW}
    assert {unit for unit in ROWS if not unit.startswith("HostConfig.LogConfig.")} == exercised


@pytest.mark.parametrize("unit", DENIED)
def test_what_is_denied_is_refused_as_it_was_typed(unit: str) -> None:
    row = ROWS[unit]
    with pytest.raises(Refused) as refusal:
        decide(changed(unit, DENIED[unit]))
    assert (refusal.value.what, refusal.value.why, refusal.value.todo) == (
        typed(unit, DENIED[unit]), row.reason, row.todo,
    )  # fmt: skip


@pytest.mark.parametrize("unit", DENIED_PARTS)
def test_a_part_that_is_denied_is_refused_with_its_reason(unit: str) -> None:
    with pytest.raises(Refused) as refusal:
        decide(cli(**DENIED_PARTS[unit]))
    assert (refusal.value.why, refusal.value.todo) == (ROWS[unit].reason, ROWS[unit].todo)


@pytest.mark.parametrize("name", [n for n in MOBY["create"] if n.startswith("NetworkingConfig.EndpointsConfig{}.")])
def test_each_setting_of_an_endpoint_is_denied(name: str) -> None:
    value: Any = "x"
    for part in reversed(name.removeprefix("NetworkingConfig.EndpointsConfig{}.").split(".")):
        value = {part: value}
    with pytest.raises(Refused, match="addresses and aliases need a network"):
        decide(cli(NetworkingConfig={"EndpointsConfig": {"default": value}}))


@pytest.mark.parametrize("unit", of("force"))
def test_what_is_forced_is_sent_whatever_was_asked(unit: str) -> None:
    row = ROWS[unit]
    untold = sent(cli(HostConfig_Mounts=[MOUNT])) if "[]" in unit else sent(cli())
    assert held(untold, unit) == value_of(row)
    for wish in FORCED.get(unit, ()):
        try:
            body = sent(changed(unit, wish))
        except Refused:
            continue
        assert held(body, unit) == value_of(row), wish


@pytest.mark.parametrize("unit", CAPPED)
def test_what_is_capped_passes_below_and_is_refused_above(unit: str) -> None:
    within, above = CAPPED[unit]
    wish, ours = within[unit.replace(".", "_")], held(sent(cli(**within)), unit)
    assert all(one in ours for one in wish) if isinstance(wish, list) else ours == wish
    with pytest.raises(Refused):
        decide(cli(**above))


@pytest.mark.parametrize("unit", of("drop"))
def test_what_is_dropped_is_taken_and_not_passed_on(unit: str) -> None:
    assert held(sent(cli(**DROPPED[unit])), unit) is None


@pytest.mark.parametrize("unit", of("allow"))
def test_what_is_allowed_passes(unit: str) -> None:
    if unit in WRITTEN_ANEW:
        assert "/b" in json.dumps(sent(cli(**WRITTEN_ANEW[unit]))["HostConfig"])
        return
    fields, expected = ALLOWED[unit]
    assert held(sent(cli(**fields)), unit) == expected


def test_a_switch_that_is_off_allows() -> None:
    (row,) = (row for row in ROWS.values() if row.switch)
    site = Settings(container=ContainerLimits(readonly_root=False))
    assert row.switch == "container.readonly_root"
    assert held(sent(cli(), site), row.unit) is False
    assert held(sent(cli(HostConfig_ReadonlyRootfs=True), site), row.unit) is True


# -- exec ------------------------------------------------------------------------------------------

EXEC: dict[str, Any] = {
    "Tty": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "DetachKeys": "ctrl-a",
    "Cmd": ["a"], "Env": ["A=1"], "WorkingDir": "/w", "Detach": True, "ConsoleSize": [1, 2], "Container": "c",
}  # fmt: skip


@pytest.mark.parametrize("row", execs.ROWS, ids=lambda row: row.unit)
def test_an_execs_row_does_what_it_says(row: Row) -> None:
    body, _, name = row.unit.partition(".")

    def decided(value: Any) -> dict[str, Any]:
        data = json.dumps({name: value}).encode()
        if body == execs.START:
            return execs.start(model.decode(data, model.ExecStart))
        return execs.create(model.decode(data, model.ExecCreate), f"{JOB.uid}:{JOB.gid}")

    match row.action:
        case "allow":
            assert decided(EXEC[name])[name] == EXEC[name]
        case "drop":
            assert name not in decided(EXEC[name])
        case "deny":
            with pytest.raises(Refused, match=f"{row.reason}"):
                decided(value=True)
        case "force":
            assert {decided(wish)[name] for wish in ("", "1001", "1001:1002")} == {"1001:1002"}
            for wish in ("0", "root", "0:0", "1001:0"):
                with pytest.raises(Refused, match="as the job's own user"):
                    decided(wish)
        case _:
            pytest.fail(f"nothing is {row.action} in an exec")


def test_units_of_parts_are_found() -> None:
    assert unit_of("HostConfig.Mounts[].BindOptions.Propagation") == "HostConfig.Mounts"
    assert unit_of("Labels:slurm-hooks.") == "Labels"
    assert unit_of("HostConfig.SecurityOpt:seccomp") == "HostConfig.SecurityOpt:seccomp"
    assert unit_of("NetworkingConfig.EndpointsConfig{}") == "NetworkingConfig"
    assert SITE.container.most_pids == 1024

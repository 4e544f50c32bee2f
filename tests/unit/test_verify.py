# SPDX-License-Identifier: Apache-2.0
"""The read-back: what the kernel says of a running container, compared with what was asked for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slurm_hooks import knobs
from slurm_hooks.knobs.contract import Links, Seen
from slurm_hooks.linux import Mount
from tests.unit.policy import JOB, cli, decide

ASKED = dict(decide(cli("cli-run-rich")).fields)
SOURCE = Mount("8:1", "/home/u/data", "/run/slurm-hooks/stage/x/0", "ro,nosuid,nodev", "ext4")
NOEXEC = Mount("8:1", "/home/u/data", "/run/slurm-hooks/stage/x/0", "ro,nosuid,nodev,noexec", "ext4")
STATUS = {
    "Uid": "1001\t1001\t1001\t1001",
    "Gid": "1002\t1002\t1002\t1002",
    "Groups": "1002 2000",
    "CapInh": "0000000000000000",
    "CapPrm": "0000000000000000",
    "CapEff": "0000000000000000",
    "CapBnd": "0000000000000000",
    "CapAmb": "0000000000000000",
    "NoNewPrivs": "1",
    "Seccomp": "2",
}
OWN = {name: f"{name}:[4026532{number}]" for number, name in enumerate(("pid", "net", "ipc", "mnt", "uts"))}
USER = "user:[4026531837]"
HOST = {name: f"{name}:[402653100]" for name in OWN}
ROOT = Mount("0:50", "/", "/", "ro,relatime", "overlay")
SYS = Mount("0:90", "/sys", "/proc/sys", "ro,nosuid,nodev,noexec", "proc")
DATA = Mount("8:1", "/home/u/data", "/data", "ro,nosuid,nodev", "ext4")
GOOD = Seen(
    pid=42,
    status=STATUS,
    cgroup=f"{JOB.cgroup}/{'c' * 64}",
    pids_max="1024",
    namespaces={**OWN, "user": USER},
    host_namespaces={**HOST, "user": USER},
    label="slurm-hooks-container (enforce)",
    lsm="apparmor",
    mounts=(ROOT, SYS, DATA),
    staged={"/data": SOURCE},
    limits={"core": (0, 0), "nofile": (512, 131072), "stack": (8 << 20, -1), "cpu": (-1, -1)},
    devices={"/dev/null": "c 1:3", "/dev/tty": "c 5:0", "/dev/console": "c 136:7"},
)


def verify(**changes: Any) -> list[str]:
    return knobs.verify(replace(GOOD, **changes), JOB, ASKED)


def status(**changes: str) -> dict[str, dict[str, str]]:
    return {"status": {**STATUS, **changes}}


def test_a_container_as_it_was_asked_for_differs_in_nothing() -> None:
    assert verify() == []


def test_a_kernel_without_apparmor_has_no_profile_to_miss() -> None:
    assert verify(lsm="", label="") == []


DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "another uid": (status(Uid="0\t0\t0\t0"), "identity: uid"),
    "another saved uid": (status(Uid="1001\t1001\t0\t1001"), "identity: uid"),
    "another gid": (status(Gid="0\t0\t0\t0"), "identity: gid"),
    "another group": (status(Groups="1002 0"), "identity: groups"),
    "a capability in effect": (status(CapEff="0000000000200000"), "capabilities: CapEff"),
    "a capability in the bounding set": (status(CapBnd="00000000a80425fb"), "capabilities: CapBnd"),
    "an ambient capability": (status(CapAmb="0000000000000001"), "capabilities: CapAmb"),
    "an inheritable capability": (status(CapInh="0000000000000001"), "capabilities: CapInh"),
    "a permitted capability": (status(CapPrm="0000000000000001"), "capabilities: CapPrm"),
    "new privileges": (status(NoNewPrivs="0"), "capabilities: no-new-privileges"),
    "no seccomp": (status(Seccomp="0"), "seccomp: "),
    "strict seccomp": (status(Seccomp="1"), "seccomp: "),
    "no AppArmor profile": ({"label": "unconfined"}, "apparmor: "),
    "another AppArmor profile": ({"label": "docker-default (enforce)"}, "apparmor: "),
    "an AppArmor profile that only complains": ({"label": "slurm-hooks-container (complain)"}, "apparmor: "),
    "the node's network": ({"namespaces": {**OWN, "user": USER, "net": HOST["net"]}}, "network: "),
    "an interface": ({"links": Links(frozenset({"lo", "eth0"}))}, "network: it has the interface eth0"),
    "a route": ({"links": Links(routes=(("lo", "0.0.0.0", "10.0.0.1", "0.0.0.0"),))}, "network: its routes are "),
    "an IPv6 address": ({"links": Links(ipv6=frozenset({"lo", "sit0"}))}, "network: it has an IPv6 address on sit0"),
    "the node's pids": ({"namespaces": {**OWN, "user": USER, "pid": HOST["pid"]}}, "namespaces: "),
    "the node's IPC": ({"namespaces": {**OWN, "user": USER, "ipc": HOST["ipc"]}}, "namespaces: "),
    "the node's host name": ({"namespaces": {**OWN, "user": USER, "uts": HOST["uts"]}}, "namespaces: "),
    "the node's mounts": ({"namespaces": {**OWN, "user": USER, "mnt": HOST["mnt"]}}, "namespaces: "),
    "users of its own": ({"namespaces": {**OWN, "user": "user:[4026532999]"}}, "userns: "),
    "no pids limit": ({"pids_max": "max"}, "pids: "),
    "another pids limit": ({"pids_max": "1025"}, "pids: "),
    "a cgroup elsewhere": ({"cgroup": f"/docker/{'c' * 64}"}, "cgroup: "),
    "the job's own cgroup": ({"cgroup": JOB.cgroup}, "cgroup: "),
    "a cgroup of a job with a longer name": ({"cgroup": f"{JOB.cgroup}1/{'c' * 64}"}, "cgroup: "),
    "a cgroup in a step": ({"cgroup": f"{JOB.cgroup}/step_0/{'c' * 64}"}, "cgroup: "),
    "a writable root": ({"mounts": (Mount("0:50", "/", "/", "rw", "overlay"), SYS, DATA)}, "rootfs: "),
    "no root": ({"mounts": (SYS, DATA)}, "rootfs: "),
    "/proc/sys not mounted anew": ({"mounts": (ROOT, DATA)}, "proc: "),
    "/proc/sys writable": ({"mounts": (ROOT, Mount("0:90", "/sys", "/proc/sys", "rw", "proc"), DATA)}, "proc: "),
    "an empty directory for a stage": (
        {"mounts": (ROOT, SYS, Mount("0:60", "/", "/data", "ro,nosuid,nodev", "tmpfs"))},
        "mounts: /data ",
    ),
    "another directory of the same file system": (
        {"mounts": (ROOT, SYS, Mount("8:1", "/etc", "/data", "ro,nosuid,nodev", "ext4"))},
        "mounts: /data ",
    ),
    "a writable mount of a read-only stage": (
        {"mounts": (ROOT, SYS, Mount("8:1", "/home/u/data", "/data", "rw,nosuid,nodev", "ext4"))},
        "mounts: /data ",
    ),
    "a mount that runs programs of a noexec stage": (
        {"staged": {"/data": NOEXEC}},
        "mounts: /data is not noexec",
    ),
    "a stage with setuid": (
        {"mounts": (ROOT, SYS, Mount("8:1", "/home/u/data", "/data", "ro,nodev", "ext4"))},
        "mounts: /data ",
    ),
    "a disk": ({"devices": {"/dev/sda": "b 8:0"}}, "devices: /dev/sda is the device b 8:0, not of the job"),
    "a disk below": ({"devices": {"/dev/a/null": "b 8:0"}}, "devices: /dev/a/null is the device b 8:0"),
    "a disk as /dev/null": ({"devices": {"/dev/null": "b 1:3"}}, "devices: /dev/null is the device b 1:3, not c 1:3"),
    "a GPU that was not asked for": ({"devices": {"/dev/nvidia0": "c 195:0"}}, "devices: /dev/nvidia0 "),
    "a stage with devices": (
        {"mounts": (ROOT, SYS, Mount("8:1", "/home/u/data", "/data", "ro,nosuid", "ext4"))},
        "mounts: /data ",
    ),
}


@pytest.mark.parametrize(("changes", "words"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_what_differs_is_told_by_the_knob_that_asked_for_it(changes: dict[str, Any], words: str) -> None:
    found = verify(**changes)
    assert len(found) == 1
    assert found[0].startswith(words)


def test_the_gpus_that_were_asked_for_are_there_and_are_the_jobs() -> None:
    given = {"/dev/x": "c 195:0", "/dev/nvidiactl": "c 195:255"}
    one = {"PathOnHost": "/dev/nvidia0", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}
    asked = dict(decide(cli("cli-run-rich", HostConfig_Devices=[one])).fields)

    def differs(devices: dict[str, str]) -> list[str]:
        return knobs.verify(replace(GOOD, devices=devices), JOB, asked)

    assert differs(given) == []
    assert differs({"/dev/x": "c 195:0"}) == ["devices: /dev/nvidiactl is not there"]
    assert differs(given | {"/dev/x": "c 195:1"}) == ["devices: /dev/x is the device c 195:1, not c 195:0"]


def test_every_difference_is_told() -> None:
    assert len(verify(pids_max="max", **status(Seccomp="0", NoNewPrivs="0"))) == 3

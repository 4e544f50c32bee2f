# SPDX-License-Identifier: Apache-2.0
"""A node that is set up as docs/operators.md says, and for each finding of `check` one that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slurm_hooks.knobs.node import Daemon, File, Node, View
from slurm_hooks.settings import Settings
from tests.unit.test_settings import site

INFO: dict[str, Any] = {
    "CgroupDriver": "cgroupfs", "Driver": "overlay2", "PidsLimit": True, "MemoryLimit": True, "Debug": False,
    "LiveRestoreEnabled": True, "LoggingDriver": "json-file", "DefaultRuntime": "runc", "ExperimentalBuild": False,
    "SecurityOptions": [
        "name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns", "name=no-new-privileges",
    ],
    "Swarm": {"LocalNodeState": "inactive"},
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"], "IndexConfigs": {"docker.io": {"Secure": True}},
    },
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "hosts": ["unix:///run/slurm-hooks-docker/docker.sock"], "bridge": "none", "userland-proxy": False,
    "default-ulimits": {"nofile": {"Soft": 1024}}, "features": {"containerd-snapshotter": False},
}  # fmt: skip
FILE = "/etc/docker/slurm-jobs.json"
SLURM = {
    "ProctrackType": "proctrack/cgroup", "TaskPlugin": "task/affinity,task/cgroup", "PrologFlags": "Alloc,Contain",
    "PrologEpilogTimeout": "65534", "SlurmdUser": "root(0)", "SLURM_CONF": "/etc/slurm/slurm.conf",
    "GresTypes": "gpu", "CgroupPlugin": "cgroup/v2", "ConstrainRAMSpace": "yes", "ConstrainCores": "yes",
    "ConstrainDevices": "yes",
}  # fmt: skip
BROKER, DOCKERD = "slurm-hooks-broker.service", "slurm-hooks-docker.service"
SWEEP, TIMER = "slurm-hooks-sweep.service", "slurm-hooks-sweep.timer"
UNITS: dict[str, dict[str, str]] = {
    BROKER: {
        "LoadState": "loaded", "UnitFileState": "enabled", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
        "RestrictSUIDSGID": "no", "PrivateUsers": "no", "ProtectControlGroups": "no", "ProcSubset": "all",
        "RestrictNamespaces": "mnt", "SystemCallFilter": "read write", "PrivateNetwork": "yes",
        "CapabilityBoundingSet":
            "cap_dac_read_search cap_kill cap_setgid cap_setuid cap_sys_chroot cap_sys_ptrace cap_sys_admin",
    },
    DOCKERD: {"LoadState": "loaded", "UnitFileState": "enabled", "KillMode": "process"},
    SWEEP: {"LoadState": "loaded", "PrivateTmp": "no"}, TIMER: {"UnitFileState": "enabled"},
}  # fmt: skip
ADOPT = "account required pam_slurm_adopt.so action_adopt_failure=deny action_generic_failure=deny"
ROOTS = File(0, 0, 0o644)
HERE = View(own=False, hears=True)
SOCKET, OWN_SOCKET = "/run/docker.sock", "/run/slurm-hooks-docker/docker.sock"
GOOD = Node(
    site=Settings(),
    info=INFO,
    dockerd=Daemon(OPTIONS, FILE),
    versions={"Engine": "29.5.1", "containerd": "v2.2.5", "runc": "1.3.6"},
    kernel="6.12.1-amd64",
    sysctls={
        "kernel.pid_max": "4194304", "kernel.threads-max": "127000", "kernel.unprivileged_bpf_disabled": "2",
        "fs.protected_hardlinks": "1", "fs.protected_symlinks": "1", "fs.suid_dumpable": "2",
    },
    lsms=("capability", "yama", "apparmor"),
    profiles={"slurm-hooks-container": "enforce", "docker-default": "enforce"},
    cgroup_options=("nsdelegate", "memory_recursiveprot"),
    controllers=("cpuset", "cpu", "memory", "pids"),
    slurm=SLURM,
    hooks=dict.fromkeys(("Prolog", "Epilog", "TaskProlog", "TaskEpilog"), True),
    units=UNITS,
    views={"broker": View(own=True, hears=True), "dockerd": HERE, "slurmd": HERE},
    files={FILE: ROOTS, "/usr/bin/slurm-hooks": File(0, 0, 0o755), "/etc/slurm/slurm.conf": File(64030, 0, 0o644),
           "/etc/slurm": File(64030, 0, 0o755)},
    sockets={SOCKET: File(0, 999, 0o660, reachable=True), OWN_SOCKET: File(0, 999, 0o666, reachable=False)},
    closed={"/var/lib/slurm-hooks-docker": File(0, 0, 0o710)},
    running=frozenset({"sshd"}),
    pam=("auth required pam_unix.so", ADOPT, "session required pam_limits.so"),
)  # fmt: skip


def info(**changes: Any) -> Node:
    return replace(GOOD, info={**INFO, **changes})


def without(option: str) -> Node:
    """A dockerd that does not name an option in /info's SecurityOptions."""
    return info(SecurityOptions=[one for one in INFO["SecurityOptions"] if not one.startswith(f"name={option}")])


def selinux(**changes: Any) -> Node:
    """A good node whose kernel has SELinux, with changes."""
    options = ["name=selinux" if one == "name=apparmor" else one for one in INFO["SecurityOptions"]]
    own: dict[str, Any] = {
        "lsms": ("capability", "yama", "selinux"), "profiles": {}, "selinux": "enforcing",
        "modules": frozenset({"base", "container", "slurm-hooks"}),
    }  # fmt: skip
    return replace(info(SecurityOptions=options), **(own | changes))


def options(**changes: Any) -> Node:
    return replace(GOOD, dockerd=Daemon({**OPTIONS, **{k.replace("_", "-"): v for k, v in changes.items()}}, FILE))


def slurm(**changes: str) -> Node:
    return replace(GOOD, slurm={**SLURM, **changes})


def hook(name: str) -> Node:
    return replace(GOOD, hooks={**GOOD.hooks, name: False})


def unit(name: str, **changes: str) -> Node:
    return replace(GOOD, units={**UNITS, name: {**UNITS[name], **changes}})


def sysctl(name: str, value: str) -> Node:
    return replace(GOOD, sysctls={**GOOD.sysctls, name: value})


def apart(name: str, *, hears: bool = True) -> Node:
    return replace(GOOD, views={**GOOD.views, name: View(own=True, hears=hears)})


def chosen(text: str) -> Node:
    return replace(GOOD, site=site(text))


def sshd(*lines: str) -> Node:
    return replace(GOOD, pam=lines)


def runc(version: str) -> Node:
    return replace(GOOD, versions={**GOOD.versions, "runc": version})


ROOT_INSIDE = '[container]\nroot = "remap"'
OFFERS = "[network.licenses]\nreach = ['10.1.2.3:27000/tcp']"
TIMED = {**UNITS, "slurm-hooks-networks.timer": {"UnitFileState": "enabled"}}
OFFERING = replace(GOOD, site=site(OFFERS), units=TIMED)
REMAPPED = {
    "SecurityOptions": [*INFO["SecurityOptions"], "name=userns"],
    "DockerRootDir": "/var/lib/slurm-hooks-docker/100000.100000",
}
# By the finding's name; each is one change away from the good one.
BROKEN: dict[str, list[Node]] = {
    "no-new-privileges": [without("no-new-privileges")],
    "seccomp": [without("seccomp")],
    "seccomp-unconfined": [info(SecurityOptions=[*without("seccomp").info["SecurityOptions"],
                                                 "name=seccomp,profile=unconfined"])],
    "apparmor": [without("apparmor")],
    "apparmor-profile": [
        replace(GOOD, profiles={}), replace(GOOD, profiles={"docker-default": "enforce"}),
        replace(GOOD, profiles={"slurm-hooks-container": "complain"}),
        replace(GOOD, profiles={"slurm-hooks-container": "unconfined"}),
    ],
    "selinux": [selinux(info=without("apparmor").info)],
    "selinux-module": [selinux(modules=frozenset({"base"})), selinux(modules=frozenset())],
    "selinux-permissive": [selinux(selinux="permissive")],
    "lsm": [replace(without("apparmor"), lsms=("capability", "yama")), replace(without("apparmor"), lsms=())],
    "userns-remap": [info(**REMAPPED)],
    "root-not-remapped": [chosen(ROOT_INSIDE), chosen('[partition.a.container]\nroot = "remap"')],
    "root-unit": [replace(info(**REMAPPED), site=site(ROOT_INSIDE))],
    "root-remap": [
        replace(unit(BROKER, RestrictNamespaces=kinds), site=site(ROOT_INSIDE), info=info(**REMAPPED).info)
        for kinds in ("mnt user", "user mnt")
    ],
    "rootless": [info(SecurityOptions=[*INFO["SecurityOptions"], "name=rootless"])],
    "bridge": [options(bridge="", icc=False), options(bridge="br0", icc=False)],
    "userland-proxy": [options(userland_proxy=True)],
    "swarm": [info(Swarm={"LocalNodeState": "active"}), info(Swarm={"LocalNodeState": "locked"})],
    "cgroup-driver": [info(CgroupDriver="systemd")],
    "cgroup-parent-from-client": [
        options(cgroup_parent_from_client=True), options(features={"cgroup-parent-from-client": True}),
        options(features={"cgroup_parent_from_client": True}), options(cgroup_parent_from_client="true"),
    ],
    "nsdelegate": [replace(GOOD, cgroup_options=("memory_recursiveprot",)), replace(GOOD, cgroup_options=())],
    "pids-controller": [info(PidsLimit=False)],
    "memory-controller": [info(MemoryLimit=False)],
    "default-ulimits": [options(default_ulimits={})],
    "place-link": [replace(GOOD, links={"/scratch": "/mnt/scratch"})],
    "storage-driver": [info(Driver="btrfs"), info(Driver="aufs")],
    "registry-insecure": [
        info(RegistryConfig={"InsecureRegistryCIDRs": ["127.0.0.0/8", "10.0.0.0/8"]}),
        info(RegistryConfig={"IndexConfigs": {"registry.site:5000": {"Secure": False}}}),
    ],
    "log-driver": [info(LoggingDriver="syslog")],
    "live-restore": [info(LiveRestoreEnabled=False)],
    "default-runtime": [info(DefaultRuntime="nvidia")],
    "dockerd-away": [replace(GOOD, info={})],
    "dockerd-tcp": [
        options(hosts=["tcp://0.0.0.0:2375"]), options(hosts="tcp://:2376", tlsverify=True),
        replace(GOOD, dockerd=Daemon(OPTIONS, FILE, ("127.0.0.1:2375",))),
        replace(GOOD, others=(Daemon({}, "/etc/docker/daemon.json", ("0.0.0.0:2375",)),)),
    ],
    "dockerd-debug": [info(Debug=True), options(debug=True), options(log_level="debug"), options(log_level="trace")],
    "dockerd-experimental": [info(ExperimentalBuild=True)],
    "network-nft": [replace(OFFERING, nft=False, firewall="x")],
    "network-forward": [replace(OFFERING, firewall="x", sysctls={**GOOD.sysctls, "net.ipv4.ip_forward": "0"})],
    "network-rules": [replace(OFFERING, firewall="slurm-hooks networks has not run on this node")],
    "network-timer": [replace(OFFERING, units=UNITS)],
    "network-name": [replace(OFFERING, unresolved=("a.example: Name or service not known",))],
    "socket-open": [replace(GOOD, sockets={SOCKET: File(0, 0, 0o666, reachable=True)})],
    "socket-owner": [replace(GOOD, sockets={SOCKET: File(1001, 0, 0o660)})],
    "docker-group": [replace(GOOD, docker_group=("ann", "bob"))],
    "sysctl-links": [sysctl("fs.protected_hardlinks", "0"), sysctl("fs.protected_symlinks", "0")],
    "sysctl-bpf": [sysctl("kernel.unprivileged_bpf_disabled", "0")],
    "sysctl-dumps": [sysctl("fs.suid_dumpable", "1")],
    "kernel-mounts": [replace(GOOD, kernel="5.10.0-8-amd64"), replace(GOOD, kernel="4.18.0-553.el8", cgroup=1)],
    "kernel-kill": [replace(GOOD, kernel="5.13.0")],
    "slurm-unasked": [replace(GOOD, slurm={}, hooks={}, files={})],
    "hook-prolog": [hook("Prolog")],
    "hook-epilog": [hook("Epilog")],
    "hook-task-prolog": [hook("TaskProlog")],
    "hook-task-epilog": [hook("TaskEpilog")],
    "proctrack": [slurm(ProctrackType="proctrack/linuxproc")],
    "task-plugin": [slurm(TaskPlugin="task/affinity")],
    "prolog-flags": [
        replace(slurm(PrologFlags=flags), running=frozenset()) for flags in ("DeferBatch", "(null)")
    ],
    "slurmd-user": [slurm(SlurmdUser="slurm(64030)")],
    "epilog-timeout": [slurm(PrologEpilogTimeout="91"), slurm(EpilogTimeout="60 sec")],
    "cgroup-plugin": [slurm(CgroupPlugin="disabled")],
    "constrain-ram": [slurm(ConstrainRAMSpace="no")],
    "constrain-cores": [slurm(ConstrainCores="no")],
    "constrain-devices": [slurm(ConstrainDevices="no")],
    "file-writable": [
        replace(GOOD, files={FILE: File(0, 0, 0o664)}), replace(GOOD, files={FILE: File(0, 0, 0o602)}),
        replace(GOOD, files={FILE: File(1001, 0, 0o644)}),
        replace(GOOD, files={"/etc/slurm/slurm.conf": File(64030, 0, 0o666)}),
        replace(GOOD, files={"/etc": File(64030, 0, 0o755)}),
    ],
    "directory-open": [replace(GOOD, closed={"/var/lib/containerd": File(0, 0, 0o711)}),
                       replace(GOOD, closed={"/var/lib/containerd": File(1001, 0, 0o700)})],
    "broker-away": [replace(GOOD, broker=False)],
    "unit-disabled": [unit(BROKER, UnitFileState="disabled"), unit(DOCKERD, UnitFileState="masked")],
    "sweep-timer": [unit(TIMER, UnitFileState="disabled"),
                    replace(GOOD, units={name: one for name, one in UNITS.items() if name != TIMER})],
    "unit-breaks": [
        unit(BROKER, RestrictSUIDSGID="yes"), unit(BROKER, PrivateUsers="yes"), unit(BROKER, ProcSubset="pid"),
        unit(BROKER, ProtectControlGroups="yes"), unit(BROKER, RestrictNamespaces="yes"),
        unit(BROKER, RestrictNamespaces="net uts"),
        unit(BROKER, CapabilityBoundingSet=UNITS[BROKER]["CapabilityBoundingSet"].replace("cap_kill", "")),
    ],
    "unit-softened": [
        unit(BROKER, NoNewPrivileges="no"), unit(BROKER, ProtectSystem="full"), unit(BROKER, SystemCallFilter=""),
        unit(BROKER, CapabilityBoundingSet=UNITS[BROKER]["CapabilityBoundingSet"] + " cap_net_admin"),
        unit(BROKER, RestrictNamespaces="no"), unit(BROKER, PrivateNetwork="no"),
        unit(BROKER, RestrictNamespaces="mnt net"), unit(BROKER, RestrictNamespaces="mnt user"),
    ],
    "unit-kills": [unit(DOCKERD, KillMode="control-group")],
    "unit-sweep": [unit(SWEEP, PrivateTmp="yes"), unit(SWEEP, ProtectSystem="full")],
    "broker-blind": [replace(GOOD, sees_images=False)],
    "broker-deaf": [apart("broker", hears=False)],
    "dockerd-deaf": [apart("dockerd", hears=False)],
    "dockerd-apart": [apart("dockerd")],
    "slurmd-apart": [apart("slurmd")],
    "linger": [replace(GOOD, lingering=("ann",))],
    "user-manager": [replace(GOOD, managers=("1001",))],
    "cron": [replace(GOOD, running=frozenset({"cron"})), replace(GOOD, running=frozenset({"crond"}))],
    "at": [replace(GOOD, running=frozenset({"atd"}), files={"/etc/at.deny": ROOTS})],
    "adopt-missing": [
        sshd("account required pam_unix.so"), sshd(), replace(GOOD, sshd_asks_pam=False),
        sshd("session required pam_slurm_adopt.so action_adopt_failure=deny action_generic_failure=deny"),
    ],
    "adopt-open": [
        sshd("account required pam_slurm_adopt.so"), sshd("account required pam_slurm_adopt.so action_no_jobs=deny"),
        sshd(ADOPT.replace("action_generic_failure=deny", "")), sshd(ADOPT.replace("failure=deny", "failure=allow", 1)),
        sshd(ADOPT.replace("required", "optional")), sshd(f"-{ADOPT}"), sshd(f"{ADOPT} action_unknown=allow"),
        sshd(ADOPT.replace("required", "[success=ok default=ignore]")), sshd(f"{ADOPT} action_no_jobs=ignore"),
    ],
    "adopt-contain": [slurm(PrologFlags="Alloc")],
    "run-in-job": [
        slurm(PrologFlags="Contain,RunInJob", SLURM_VERSION="24.11.5"),
        slurm(PrologFlags="runinjob", SLURM_VERSION="25.11.7"),
    ],
    "pam-systemd": [sshd(ADOPT, "-session optional pam_systemd.so"),
                    sshd(ADOPT, "session optional /lib/security/pam_systemd.so")],
    "job-pids": [
        chosen("[job]\npids = 63501"), chosen("[partition.a]\npids = 63501"),
        sysctl("kernel.threads-max", "8191"), sysctl("kernel.pid_max", "8191"),
    ],
    "node-reserve": [chosen("[node]\nreserve = 0")],
    "slurm-reserve": [chosen("[job]\nslurm_reserve = 31")],
    "docker-shared": [chosen("[docker]\nsocket = '/run/docker.sock'")],
    "image-credentials": [chosen("[images]\nregistries = ['docker.io']")],
    "image-largest": [chosen("[images]\nregistries = ['docker.io']\ncredentials = false\nlargest_gigabytes = 0")],
    "readonly-root": [
        chosen("[container]\nreadonly_root = false"), chosen("[partition.a.container]\nreadonly_root = false"),
        chosen("[container]\nreadonly_root = false\n[partition.a]\n[partition.b]"),
    ],
    "container-number": [chosen("[container]\nnumber = 257")],
    "container-logs": [chosen("[container]\nlog_megabytes = 1025")],
    "hole-stopped": [
        runc("1.1.15+ds1"), runc("1.4.0-rc.3"), runc("1.2.9"), runc("1.0.0~rc93+ds1"),
        replace(GOOD, versions={"Engine": "28.5.2"}), replace(GOOD, versions={"containerd": "1.7.24~ds1"}),
    ],
}  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""The rows of Kubernetes' Pod Security "restricted" and of the CIS Docker Benchmark, each as a question to a node.

The numbers are those of CIS Docker Benchmark 1.6; docs/security.md has the same rows with what enforces each, and
tests/unit/test_security_page.py keeps the two equal. A row of EXCEPTIONS says what holds here in the place of the
benchmark's wish, and is asked all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

UID = 1001  # ann's
NONE = "0" * 16  # no capability
STAGES = "/run/slurm-hooks/stage/"  # what of the node a job's user may open, and nothing else, is mounted from there
SENSITIVE = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr")
PRIVATE = ("rprivate", "private")
SAFE_SELINUX = ("container_t", "container_init_t", "container_kvm_t", "container_engine_t")


@dataclass(frozen=True)
class Container:
    """A running container of a job: dockerd's record of it, and the kernel's own word."""

    inspect: dict[str, Any]
    status: dict[str, str]  # /proc/<pid>/status
    label: str  # /proc/<pid>/attr/current
    lsm: str  # of the node: "apparmor", "selinux", ""
    mounts: dict[str, str]  # mountinfo: mount point → per-mount options and optional fields
    namespaces: dict[str, str]
    host_namespaces: dict[str, str]
    limits: dict[str, str]  # of its cgroup: memory, pids, cpu
    cgroup: str
    interfaces: list[str]
    devices: list[str]
    programs: list[str]
    job: dict[str, Any]  # cgroup, memory
    swarm: str
    execs: dict[str, str]  # what a job's user was told who asked for an exec with privilege

    @property
    def host(self) -> dict[str, Any]:
        """HostConfig."""
        found: dict[str, Any] = self.inspect["HostConfig"]
        return found

    def own(self, *names: str) -> bool:
        """Are these namespaces its own?"""
        return all(self.namespaces[name] != self.host_namespaces[name] for name in names)

    @property
    def sources(self) -> list[str]:
        """What of the node is mounted in it."""
        return [mount["Source"] for mount in self.inspect["Mounts"] if mount["Type"] != "tmpfs"]


@dataclass(frozen=True)
class Daemon:
    """The jobs' dockerd: its configuration, its word of itself, and its files."""

    config: dict[str, Any]
    arguments: str  # the command line
    info: dict[str, Any]
    group: str  # members of group docker
    files: dict[str, tuple[str, str, int]] = field(default_factory=dict)  # path → user, group, mode; absent: no file
    listens: str = ""  # what it listens on beside unix sockets

    def owned(self, *paths: str) -> bool:
        """Does root own these files, where they are there?"""
        return all(self.files[path][:2] == ("root", "root") for path in paths if path in self.files)

    def at_most(self, mode: int, *paths: str) -> bool:
        """Have these files no permission beyond `mode`, where they are there?"""
        return all(self.files[path][2] & ~mode == 0 for path in paths if path in self.files)


def _capabilities(seen: Container) -> bool:
    return all(seen.status[name] == NONE for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))


def _unconfined(seen: Container) -> bool:
    return any("unconfined" in option for option in seen.host["SecurityOpt"] or ())


CONTAINER: dict[str, Callable[[Container], object]] = {
    # Kubernetes, Pod Security "restricted"
    "PSS hostProcess": lambda c: not c.host.get("Isolation"),
    "PSS host namespaces": lambda c: c.own("net", "pid", "ipc", "mnt", "uts", "cgroup"),
    "PSS privileged": lambda c: not c.host["Privileged"] and _capabilities(c),
    "PSS capabilities": lambda c: not c.host["CapAdd"] and c.host["CapDrop"] == ["ALL"] and _capabilities(c),
    "PSS hostPath": lambda c: all(source.startswith(STAGES) for source in c.sources),
    "PSS hostPorts": lambda c: not c.host["PortBindings"] and c.interfaces == ["lo"],
    "PSS probes": lambda c: c.inspect["Config"]["Healthcheck"] == {"Test": ["NONE"]},
    "PSS AppArmor": lambda c: c.lsm != "apparmor" or c.label.endswith(" (enforce)"),
    "PSS SELinux": lambda c: c.lsm != "selinux" or c.label.split(":")[2] in SAFE_SELINUX,
    # What a kernel does not have runc does not mount over: kcore, sysrq-trigger.
    "PSS procMount": lambda c: "/proc/sys" in c.mounts
    and {"/proc/sys", "/proc/sysrq-trigger"} <= set(c.host["ReadonlyPaths"])
    and "/proc/kcore" in c.host["MaskedPaths"],
    "PSS seccomp": lambda c: c.status["Seccomp"] == "2" and not _unconfined(c),
    "PSS sysctls": lambda c: not c.host.get("Sysctls"),
    "PSS volumes": lambda c: {mount["Type"] for mount in c.inspect["Mounts"]} <= {"bind"},
    "PSS allowPrivilegeEscalation": lambda c: c.status["NoNewPrivs"] == "1",
    "PSS runAsNonRoot": lambda c: "0" not in c.status["Uid"].split(),
    "PSS runAsUser": lambda c: c.inspect["Config"]["User"].split(":")[0] == str(UID),
    # CIS 4 and 5
    "CIS 4.1": lambda c: c.inspect["Config"]["User"] == f"{UID}:{UID}" and c.status["Uid"].split() == [str(UID)] * 4,
    "CIS 5.1": lambda c: c.swarm == "inactive",
    "CIS 5.2": lambda c: c.lsm != "apparmor" or c.inspect["AppArmorProfile"] not in ("", "unconfined"),
    "CIS 5.3": lambda c: c.host["SecurityOpt"],
    "CIS 5.4": lambda c: not c.host["CapAdd"] and _capabilities(c),
    "CIS 5.5": lambda c: c.host["Privileged"] is False,
    "CIS 5.6": lambda c: not set(c.sources) & set(SENSITIVE),
    "CIS 5.7": lambda c: not any("sshd" in program for program in c.programs),
    "CIS 5.8": lambda c: not c.host["PortBindings"] and not c.inspect["NetworkSettings"].get("Ports"),
    "CIS 5.9": lambda c: not c.host["PublishAllPorts"] and c.interfaces == ["lo"],
    "CIS 5.10": lambda c: c.host["NetworkMode"] == "none" and c.own("net"),
    "CIS 5.11": lambda c: 0 < c.host["Memory"] <= c.job["memory"] and c.limits["memory"] == str(c.host["Memory"]),
    "CIS 5.12": lambda c: c.host["CpuShares"] > 0 or c.host["NanoCpus"] > 0,
    "CIS 5.13": lambda c: c.host["ReadonlyRootfs"] and "ro" in c.mounts["/"].split(" ")[0].split(","),
    "CIS 5.14": lambda c: not c.host["PortBindings"],
    "CIS 5.15": lambda c: c.host["RestartPolicy"]["Name"] == "no" and c.host["RestartPolicy"]["MaximumRetryCount"] <= 5,
    "CIS 5.16": lambda c: c.host["PidMode"] == "" and c.own("pid"),
    "CIS 5.17": lambda c: c.host["IpcMode"] == "private" and c.own("ipc"),
    "CIS 5.18": lambda c: not c.host["Devices"] and not c.host.get("DeviceRequests") and not _of_the_node(c.devices),
    "CIS 5.19": lambda c: {"nofile", "nproc", "core"} <= {limit["Name"] for limit in c.host["Ulimits"]},
    "CIS 5.20": lambda c: _not_shared(c),
    "CIS 5.21": lambda c: c.host["UTSMode"] == "" and c.own("uts"),
    "CIS 5.22": lambda c: not _unconfined(c) and c.status["Seccomp"] == "2",
    "CIS 5.23": lambda c: "--privileged" in c.execs["privileged"],
    "CIS 5.24": lambda c: "--user" in c.execs["root"],
    "CIS 5.25": lambda c: c.host["CgroupParent"] == c.job["cgroup"] and c.cgroup.rpartition("/")[0] == c.job["cgroup"],
    "CIS 5.26": lambda c: "no-new-privileges=true" in c.host["SecurityOpt"] and c.status["NoNewPrivs"] == "1",
    "CIS 5.27": lambda c: c.inspect["Config"]["Healthcheck"] == {"Test": ["NONE"]},
    "CIS 5.28": lambda c: c.inspect["Image"].startswith("sha256:"),
    "CIS 5.29": lambda c: c.host["PidsLimit"] > 0 and c.limits["pids"] == str(c.host["PidsLimit"]),
    "CIS 5.30": lambda c: "bridge" not in c.inspect["NetworkSettings"].get("Networks", {}),
    "CIS 5.31": lambda c: c.host["UsernsMode"] == "host" and c.status["Uid"].split()[0] != "0",
    "CIS 5.32": lambda c: not any(source.endswith("docker.sock") for source in c.sources),
}  # fmt: skip


def _of_the_node(devices: list[str]) -> set[str]:
    return set(devices) - {"full", "null", "random", "tty", "urandom", "zero", "ptmx", "console"}


def _not_shared(seen: Container) -> bool:
    return all(
        mount["Propagation"] in PRIVATE for mount in seen.inspect["Mounts"] if mount["Type"] == "bind"
    ) and not any("shared:" in options for options in seen.mounts.values())


CONFIG, UNIT = "/etc/docker/slurm-jobs.json", "/usr/lib/systemd/system/slurm-hooks-docker.service"
CONTAINERD = "/run/containerd/containerd.sock"
SOCKET, SOCKET_DIRECTORY = "/run/slurm-hooks-docker/docker.sock", "/run/slurm-hooks-docker"
FILES = (
    CONFIG,
    UNIT,
    CONTAINERD,
    SOCKET,
    SOCKET_DIRECTORY,
    "/etc/docker",
    "/etc/default/docker",
    "/etc/sysconfig/docker",
)

DAEMON: dict[str, Callable[[Daemon], object]] = {
    "CIS 1.1.2": lambda d: d.group == "",
    "CIS 2.1": lambda d: "rootless" not in " ".join(d.info["SecurityOptions"]),
    "CIS 2.2": lambda d: d.config["bridge"] == "none",
    "CIS 2.3": lambda d: d.config.get("log-level", "info") == "info" and "--log-level" not in d.arguments,
    "CIS 2.4": lambda d: d.config["iptables"] is False and d.config["bridge"] == "none",
    "CIS 2.5": lambda d: not d.config.get("insecure-registries") and "insecure" not in d.arguments,
    "CIS 2.6": lambda d: d.info["Driver"] in ("overlay2", "overlayfs"),
    "CIS 2.7": lambda d: all(host.startswith("unix:") for host in d.config["hosts"]) and d.listens == "",
    "CIS 2.8": lambda d: d.config.get("default-ulimits"),
    "CIS 2.9": lambda d: "userns" not in " ".join(d.info["SecurityOptions"]),
    "CIS 2.10": lambda d: "cgroup-parent" not in d.config and "cgroup-parent" not in d.arguments,
    "CIS 2.11": lambda d: "dm.basesize" not in " ".join(d.config.get("storage-opts", ())),
    "CIS 2.12": lambda d: not d.info["Plugins"].get("Authorization") and d.at_most(0o700, SOCKET_DIRECTORY),
    "CIS 2.13": lambda d: d.info["LoggingDriver"] == "json-file" and d.config["log-opts"]["max-size"],
    "CIS 2.14": lambda d: d.config["no-new-privileges"] is True,
    "CIS 2.15": lambda d: d.info["LiveRestoreEnabled"] is True,
    "CIS 2.16": lambda d: d.config["userland-proxy"] is False,
    "CIS 2.17": lambda d: any(option.startswith("name=seccomp,profile=") for option in d.info["SecurityOptions"]),
    "CIS 2.18": lambda d: d.info["ExperimentalBuild"] is False,
    "CIS 3.1": lambda d: d.owned(UNIT),
    "CIS 3.2": lambda d: d.at_most(0o644, UNIT),
    "CIS 3.5": lambda d: d.owned("/etc/docker"),
    "CIS 3.6": lambda d: d.at_most(0o755, "/etc/docker"),
    "CIS 3.15": lambda d: d.files[SOCKET][0] == "root" and d.files[SOCKET][1] in ("root", "docker"),
    "CIS 3.16": lambda d: d.at_most(0o660, SOCKET) and d.at_most(0o700, SOCKET_DIRECTORY),
    "CIS 3.17": lambda d: d.owned(CONFIG),
    "CIS 3.18": lambda d: d.at_most(0o644, CONFIG),
    "CIS 3.19": lambda d: d.owned("/etc/default/docker"),
    "CIS 3.20": lambda d: d.at_most(0o644, "/etc/default/docker"),
    "CIS 3.21": lambda d: d.at_most(0o644, "/etc/sysconfig/docker"),
    "CIS 3.22": lambda d: d.owned("/etc/sysconfig/docker"),
    "CIS 3.23": lambda d: d.owned(CONTAINERD),
    "CIS 3.24": lambda d: d.at_most(0o660, CONTAINERD),
}

# What the benchmark wishes and is not so here; the question above is what is so. docs/security.md has the reasons.
EXCEPTIONS = (
    "CIS 2.1", "CIS 2.2", "CIS 2.4", "CIS 2.9", "CIS 2.12", "CIS 2.13", "CIS 2.17", "CIS 5.2", "CIS 5.25", "CIS 5.27",
    "CIS 5.31",
)  # fmt: skip
# Not asked: what is the site's own (partitions, audit rules, hardening of the host, age of the release, its images),
# and certificates and TCP sockets, which the jobs' dockerd has none of.
NOT_OURS = ("CIS 1.1.1", "CIS 1.1.3 to 1.1.18", "CIS 1.2", "CIS 3.3, 3.4", "CIS 3.7 to 3.14")

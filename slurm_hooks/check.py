# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check`: is this node set up safely? Each finding says what, why and how to mend it."""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from slurm_hooks import config, controller, linux
from slurm_hooks.engine import Engine
from slurm_hooks.errors import HooksError
from slurm_hooks.settings import ContainerLimits, Images, Settings

EPILOG_BOUND = 113  # its bound without the site's grace: docs/operators.md, "The end of a job"
UNLIMITED = 65_534  # INFINITE16 of slurm.h, as scontrol prints a timeout that is not set
INCLUDE = "Include /etc/slurm/slurm-hooks.conf in slurm.conf, then scontrol reconfigure."
# What does not happen where no line of slurm.conf runs the hook.
HOOKS = {
    "Prolog": ("wrong", "no job is bounded, and none gets Docker"),
    "Epilog": ("wrong", "nothing ends what a job leaves"),
    "TaskProlog": ("weak", "the docker command line does not find its socket (DOCKER_HOST)"),
    "TaskEpilog": ("weak", "no job is told what became of its containers"),
}
SWEEP = "/etc/systemd/system/timers.target.wants/slurm-hooks-sweep.timer"


@dataclass(frozen=True)
class Finding:
    """`level` is "wrong" (no promise holds) or "weak" (one of them does not)."""

    level: str
    what: str
    mend: str


def main(*, as_json: bool) -> int:
    """Print the findings; 1 where anything is wrong."""
    found = list(findings())
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            print(f"{finding.level}: {finding.what}. {finding.mend}")
        print("slurm-hooks check: nothing found" if not found else f"slurm-hooks check: {len(found)} found")
    return 1 if any(finding.level == "wrong" for finding in found) else 0


def findings() -> Iterator[Finding]:
    """Look at the node. Changes nothing."""
    try:
        settings = config.load(keep=False)
    except HooksError as error:
        yield Finding("wrong", str(error), "Mend it; until then no container starts.")
        return
    yield from choices(settings, int(linux.read("/proc/sys/kernel/pid_max")))
    yield from places(settings)
    yield from _sockets(settings.docker.socket)
    try:
        yield from slurm(controller.configuration(), settings.container.grace_seconds)
    except HooksError as error:
        yield Finding("weak", f"slurm.conf was not looked at: {error}", "Run this again where slurmctld answers.")
    if os.path.isdir("/run/systemd/system") and not os.path.lexists(SWEEP):
        yield Finding(
            "weak", "the sweep's timer is not enabled: what a job leaves whose Epilog never ran stays (a reboot, "
            "a slurmd that was killed)", "Run: systemctl enable --now slurm-hooks-sweep.timer.",
        )  # fmt: skip
    try:
        info = Engine(settings.docker.socket).info()
    except HooksError as error:
        yield Finding("wrong", str(error), "Start it: systemctl start slurm-hooks-docker.")
        return
    if info.get("CgroupDriver") != "cgroupfs":
        yield Finding(
            "wrong",
            f"the cgroup driver of the jobs' dockerd is {info.get('CgroupDriver')}, which places no container in a job",
            'Set "exec-opts": ["native.cgroupdriver=cgroupfs"] in its configuration.',
        )
    if info.get("Driver") != "overlay2":
        yield Finding(
            "wrong",
            f"the jobs' dockerd keeps images in {info.get('Driver')}, where their links cannot be followed",
            'Set "storage-driver": "overlay2" and "features": {"containerd-snapshotter": false}; no container starts.',
        )
    yield from _images(settings.images)
    if not info.get("PidsLimit", True):
        yield Finding("wrong", "dockerd sees no pids controller", "Enable it in the kernel: fork bombs are not held.")
    if not any(option.startswith("name=seccomp") for option in info.get("SecurityOptions") or []):
        yield Finding("wrong", "dockerd has no seccomp", "Use a build of dockerd and a kernel that have it.")
    if not info.get("LiveRestoreEnabled"):
        yield Finding("weak", "a restart of dockerd ends the jobs' containers", 'Set "live-restore": true.')


def slurm(said: Mapping[str, str], grace: int) -> Iterator[Finding]:
    """Does Slurm run the hooks, and as they need it? Reads the scripts that slurm.conf names.

    Args:
        said: slurm.conf, as controller.configuration has it.
        grace: the site's, in seconds.
    """
    for name, (level, without) in HOOKS.items():
        patterns = [value for key, value in said.items() if key.partition("[")[0] == name]
        if not any(map(_runs_us, patterns)):
            yield Finding(level, f"no {name} of slurm.conf runs slurm-hooks: {without}", INCLUDE)
    for name, plugin in (("ProctrackType", "proctrack/cgroup"), ("TaskPlugin", "task/cgroup")):
        if plugin not in said.get(name, "").split(","):
            yield Finding(
                "wrong", f"{name} is not {plugin}: jobs have no cgroup that holds them", f"Set {name}={plugin}."
            )
    if not {"alloc", "contain"} & set(said.get("PrologFlags", "").lower().split(",")):
        yield Finding(
            "weak", "PrologFlags is without Alloc and Contain: the Prolog runs with a job's first step only",
            "Set PrologFlags=Contain.",
        )  # fmt: skip
    for name in ("EpilogTimeout", "PrologEpilogTimeout"):  # the first one since 25.05
        seconds = int((re.match(r"\d+", said.get(name, "")) or ["0"])[0])
        if 0 < seconds < EPILOG_BOUND + grace and seconds != UNLIMITED:
            yield Finding(
                "weak", f"{name} = {seconds}: an Epilog on a node whose dockerd hangs is killed, and the node drains "
                "without a reason", f"Set {EPILOG_BOUND + grace} or more, or nothing.",
            )  # fmt: skip


def _runs_us(pattern: str) -> bool:
    """Is one of the scripts ours, or one that calls ours? By its text; slurmd passes over what is not executable."""
    for path in filter(lambda path: os.access(path, os.X_OK), glob.glob(pattern)):
        try:
            with open(path, "rb") as script:
                if re.search(rb"slurm[-_]hooks", script.read(65_536)):
                    return True
        except OSError:
            continue
    return False


def choices(site: Settings, pid_max: int) -> Iterator[Finding]:
    """The site's own choices that weaken a promise, each by its name. Pure.

    Args:
        pid_max: kernel.pid_max of the node, which all its processes and threads share.
    """
    jobs = {"job": site.job.pids} | {f"partition.{n}": p.pids for n, p in site.partition.items() if p.pids}
    for table, figure in jobs.items():
        if figure > pid_max // 2:
            yield Finding(
                "weak", f"[{table}] pids = {figure} is more than a half of kernel.pid_max ({pid_max}): a fork bomb in "
                "one job takes the processes of the others", f"Set less than {pid_max // 2}, or raise kernel.pid_max.",
            )  # fmt: skip
    if site.job.slurm_reserve < 32:
        yield Finding(
            "weak", f"[job] slurm_reserve = {site.job.slurm_reserve}: a job at its limit may leave Slurm's own threads "
            "(15 a step in 24.11) no room, and its steps then fail", "Set 64.",
        )  # fmt: skip
    if site.docker.socket in ("/run/docker.sock", "/var/run/docker.sock"):
        yield Finding(
            "weak", f"[docker] socket = {site.docker.socket}: jobs share the dockerd of the node's own containers, its "
            "images, its disk and its restarts", "Give the jobs one of their own: slurm-hooks-docker.service.",
        )  # fmt: skip
    told = set()
    for name in ("", *site.partition):
        where = f"partition.{name}.container" if name else "container"
        own = site.of_partition(name).container
        for finding in _of_container(own, where):
            if finding.what.partition("]")[2] not in told:  # what the site chose is not told again for each partition
                told.add(finding.what.partition("]")[2])
                yield finding


def _of_container(own: ContainerLimits, where: str) -> Iterator[Finding]:
    if not own.readonly_root:
        yield Finding(
            "weak", f"[{where}] readonly_root = false: a container may fill the node's disk through its own layer, "
            "which no limit of the job bounds", "Set true; give users a scratch directory to mount.",
        )  # fmt: skip
    if own.number > 256:
        yield Finding(
            "weak", f"[{where}] number = {own.number}: each container has a shim of some 10 MiB outside of the job's "
            "memory limit", "Set 256 or less.",
        )  # fmt: skip
    if own.number * own.log_megabytes > 65_536:
        yield Finding(
            "weak", f"[{where}] number times log_megabytes is {own.number * own.log_megabytes // 1024} GiB: what one "
            "job may write to the node's disk by printing", "Set less of either.",
        )  # fmt: skip


def places(site: Settings) -> Iterator[Finding]:
    """A mount is judged by its real path: a prefix that is a link itself would never be met."""
    names = {place: "mounts.allow" for one in ("", *site.partition) for place in site.of_partition(one).mounts.allow}
    names |= {place: "mounts.deny" for one in ("", *site.partition) for place in site.of_partition(one).mounts.deny}
    for place, setting in names.items():
        real = os.path.realpath(place)
        if real != place:
            yield Finding("wrong", f"{setting} names {place}, which leads to {real}: it holds nothing", f"Name {real}.")


def _images(site: Images) -> Iterator[Finding]:
    if site.registries and site.credentials:
        yield Finding(
            "weak", "what a user pulls with a password of their own, all jobs of the node may run",
            "Where that is too much, set credentials = false in [images].",
        )  # fmt: skip
    if site.registries and not site.largest_gigabytes:
        yield Finding("weak", "a pull may fill the disk of the node", "Set largest_gigabytes in [images].")


def _sockets(docker_socket: str) -> Iterator[Finding]:
    from slurm_hooks.broker.server import SOCKET

    if not os.path.exists(SOCKET):
        yield Finding("wrong", f"{SOCKET} is not there", "Start the broker: systemctl start slurm-hooks-broker.")
    for path in (docker_socket, "/run/docker.sock"):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        parent = os.stat(os.path.dirname(path))
        if facts.st_mode & stat.S_IWOTH and parent.st_mode & stat.S_IXOTH:
            yield Finding("wrong", f"{path} is open to everyone, who is then root", f"Run: chmod o-w {path}.")

# SPDX-License-Identifier: Apache-2.0
"""Who is still here, and how do we know it is theirs.

Each detector looks at the node afresh and gives what it found with the evidence
that makes it this job's. It ends nothing: teardown does, before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil

from slurm_hooks import cgroups, config, jobs, linux, stages
from slurm_hooks.errors import one_line


@dataclass(frozen=True)
class Left:
    """One thing of a job that is still on the node."""

    kind: str  # process, container, shim, mount, cgroup
    what: str  # one line for an operator
    evidence: str


def everything(job: jobs.Job, containers: list[dict[str, Any]], *, run: str = config.RUN) -> list[Left]:
    """All that is left of a job; `containers` as dockerd lists them now."""
    return [
        *processes(job),
        *(Left("container", f"container {c['Id'][:12]} ({c.get('State', '?')})", "label") for c in containers),
        *shims(container_ids(job, run)),
        *mounts(job, run),
        *directories(job),
    ]


def container_ids(job: jobs.Job, run: str = config.RUN) -> list[str]:
    """The ids of the job's containers that the broker noted."""
    import json

    found = []
    top = f"{jobs.directory(job.key, run)}/containers"
    for nonce in os.listdir(top) if os.path.isdir(top) else []:
        try:
            found.append(str(json.loads(linux.read(f"{top}/{nonce}"))["id"]))
        except (OSError, ValueError, KeyError):
            pass  # begun, and never heard of by dockerd
    return [container for container in found if container]


def ourselves() -> set[int]:
    """This process and its ancestors: with PrologFlags=RunInJob they are in the job's cgroup."""
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}


def processes(job: jobs.Job) -> list[Left]:
    """Processes in the job's cgroup, in any hierarchy."""
    innocent = ourselves()
    found = []
    for pid in cgroups.of(job.version).processes(job.cgroup):
        if pid not in innocent and (words := described(pid)):
            found.append(Left("process", words, f"in the job's cgroup {job.cgroup}"))
    return found


def described(pid: int) -> str:
    """`pid 4242 cat, state D in fuse_dev_do_write`; "" where it is gone or a zombie, which holds nothing."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            name, status = process.name(), process.status()
    except psutil.NoSuchProcess:
        return ""
    if status == psutil.STATUS_ZOMBIE:
        return ""
    letter = {psutil.STATUS_DISK_SLEEP: "D", psutil.STATUS_STOPPED: "T", psutil.STATUS_TRACING_STOP: "t"}.get(
        status, status
    )
    try:
        place = linux.read(f"/proc/{pid}/wchan")
    except OSError:
        place = ""
    waits = f" in {place}" if place not in ("", "0") else ""
    return one_line(f"pid {pid} {name}, state {letter}{waits}")


def shims(ids: list[str]) -> list[Left]:
    """containerd-shim processes of the job's containers: they live in containerd's cgroup, not in the job's."""
    if not ids:
        return []
    found = []
    wanted = set(ids)
    for process in psutil.process_iter(["name", "cmdline"]):
        line = process.info["cmdline"] or []
        if (process.info["name"] or "").startswith("containerd-shim") and wanted.intersection(line):
            container = wanted.intersection(line).pop()
            found.append(Left("shim", f"pid {process.pid} {process.info['name']} of {container[:12]}", "its -id"))
    return found


def mounts(job: jobs.Job, run: str = config.RUN) -> list[Left]:
    """Stages of the job's bind mounts, mounted or not."""
    top = f"{run}/stage/{job.key}."
    mounted = [mount.point for mount in linux.mounts_of("self") if mount.point.startswith(top)]
    return [Left("mount", path, "the job's key") for path in mounted or stages.of_job(job.key, run)]


def directories(job: jobs.Job) -> list[Left]:
    """The job's cgroup, unless Slurm itself still needs it (RunInJob: it runs us there)."""
    cgroup = cgroups.of(job.version)
    if is_inside(job, cgroup) or not cgroup.exists(job.cgroup):
        return []
    return [Left("cgroup", job.cgroup, "registered by the Prolog")]


def is_inside(job: jobs.Job, cgroup: cgroups.Hierarchy) -> bool:
    """Do we run inside the job's cgroup (PrologFlags=RunInJob)?"""
    own = cgroup.identity(linux.cgroup_lines(linux.read("/proc/self/cgroup")))
    return own.startswith(f"{job.cgroup}/")

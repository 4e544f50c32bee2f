# SPDX-License-Identifier: Apache-2.0
"""What a job may know of its node: version, a minimal info, how much of its limits it uses."""

from __future__ import annotations

import os
import platform
from typing import Any

from slurm_hooks import __version__, cgroups, jobs
from slurm_hooks.broker import account, notes
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.settings import Settings


async def version(up: Upstream) -> tuple[int, Any]:
    """GET /version: dockerd's own, with the API versions that are served here."""
    status, said = await up.value("GET", "/version")
    if status != 200:
        return status, said
    newest, oldest = _dotted(up.version), _dotted(up.oldest)
    said["ApiVersion"], said["MinAPIVersion"] = newest, oldest
    said["Platform"] = {"Name": f"slurm-hooks {__version__}"}
    for part in said.get("Components") or []:
        if part.get("Name") == "Engine":
            part["Details"] = {**(part.get("Details") or {}), "ApiVersion": newest, "MinAPIVersion": oldest}
    return 200, said


def _dotted(number: tuple[int, int]) -> str:
    return f"{number[0]}.{number[1]}"


async def info(up: Upstream, asker: Asker) -> tuple[int, Any]:
    """GET /info: what clients need to go on, nothing about other jobs."""
    status, said = await up.value("GET", "/info")
    if status != 200:
        return status, said
    mine = notes.of(asker.job)
    keep = (
        "Driver", "CgroupDriver", "CgroupVersion", "OSType", "Architecture", "OperatingSystem", "KernelVersion",
        "ServerVersion", "SecurityOptions", "DefaultRuntime", "LoggingDriver", "Images", "NCPU", "MemTotal",
        "MemoryLimit", "SwapLimit", "PidsLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "OomKillDisable",
        "IPv4Forwarding",
    )  # fmt: skip
    seen = {name: said[name] for name in keep if name in said}
    seen |= {"ID": asker.job.key, "Name": asker.job.node, "Containers": len(mine)}
    seen |= {"Plugins": {"Log": ["json-file", "none"], "Network": ["null"], "Volume": []}, "Swarm": {}}
    seen |= {"RegistryConfig": {}, "Runtimes": {}, "Labels": [f"slurm.job={asker.job.id}"], "Warnings": None}
    return 200, seen


def usage(asker: Asker) -> tuple[int, Any]:
    """GET /slurm-hooks/usage: of the asking job only."""
    job = asker.job
    cgroup = cgroups.of(job.version)
    return 200, {
        "job": job.id,
        "pids": {"limit": job.effective, "processes": len(cgroup.processes(job.cgroup))},
        "peaks": cgroup.peaks(job.cgroup),
        "containers": [{"name": note.name, "image": note.image} for note in notes.of(job)],
        "ended": account.of(job),
    }


def join(asker: Asker, site: Settings | None, why_not: str) -> tuple[int, str]:
    """POST /slurm-hooks/join: the task's processes come under the job's limit; a line for the user, once a job."""
    job = asker.job
    cgroups.of(job.version).hold_steps(job.cgroup, job.figure)
    if not _first(job):
        return 200, ""
    if site is None:
        return 200, f"slurm-hooks: no containers in this job: {why_not}"
    most = min(site.of_partition(job.partition).container.most_pids, job.figure)
    network = f"--network none or {', '.join(sorted(site.network))}" if site.network else "without network"
    return 200, (
        f"slurm-hooks: docker runs in job {job.id}: as {job.user}, {network}, "
        f"at most {job.figure} processes in all, {most} in a container"
    )


def _first(job: jobs.Job) -> bool:
    try:
        os.close(os.open(f"{jobs.directory(job.key)}/ops/greeted", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True


def platform_is_ours(wish: str) -> bool:
    """Is `--platform` this node's own? Another would run under an emulator, if at all."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return wish in ("", "linux", f"linux/{machine}", machine)

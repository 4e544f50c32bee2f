# SPDX-License-Identifier: Apache-2.0
"""The site's own choices that weaken a promise, each by its name in slurm-hooks.toml. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import ContainerLimits

TOML = "In /etc/slurm-hooks/slurm-hooks.toml"


def check(node: Node) -> Iterable[Finding]:
    """All of slurm-hooks.toml."""
    site = node.site
    most = min((int(node.sysctls[name]) for name in ("kernel.pid_max", "kernel.threads-max") if name in node.sysctls),
               default=2**22)  # fmt: skip
    jobs = {"job": site.job.pids} | {f"partition.{n}": p.pids for n, p in site.partition.items() if p.pids}
    for table, figure in jobs.items():
        if figure > most // 2:
            yield Finding(
                "job-pids", "weak", "pids", f"[{table}] pids = {figure} is more than a half of what the kernel has "
                f"({most}, kernel.pid_max and kernel.threads-max)",
                "a fork bomb in one job takes the processes of the others",
                f"{TOML}: [{table}] pids = {most // 2}, or less.",
            )  # fmt: skip
    if site.node.reserve == 0:
        yield Finding(
            "node-reserve", "weak", "pids", "[node] reserve = 0",
            "no pids.max stands above all jobs: together they may leave the node's own daemons no process to start",
            f"{TOML}: [node] reserve = 2048.",
        )  # fmt: skip
    if site.job.slurm_reserve < 32:
        yield Finding(
            "slurm-reserve", "weak", "pids", f"[job] slurm_reserve = {site.job.slurm_reserve}",
            "a job at its limit may leave Slurm's own threads (15 a step in 24.11) no room, and its steps then fail",
            f"{TOML}: [job] slurm_reserve = 64.",
        )  # fmt: skip
    if site.docker.socket in ("/run/docker.sock", "/var/run/docker.sock"):
        yield Finding(
            "docker-shared", "weak", "dockerd", f"[docker] socket = {site.docker.socket}",
            "jobs share the dockerd of the node's own containers, its images, its disk and its restarts",
            f"{TOML}: no socket in [docker]; then run: systemctl enable --now slurm-hooks-docker.",
        )  # fmt: skip
    if site.images.registries and site.images.credentials:
        yield Finding(
            "image-credentials", "weak", "images", "[images] credentials = true",
            "what a user pulls with a password of their own, all jobs of the node may run",
            f"{TOML}, where that is too much: [images] credentials = false.",
        )  # fmt: skip
    if site.images.registries and not site.images.largest_gigabytes:
        yield Finding(
            "image-largest", "weak", "images", "[images] largest_gigabytes = 0",
            "a pull may fill the disk of the node", f"{TOML}: [images] largest_gigabytes = 32.0.",
        )  # fmt: skip
    told = set()
    for name in ("", *site.partition):
        for finding in _of_container(site.of_partition(name).container, f"partition.{name}." if name else ""):
            if (choice := finding.what.partition("]")[2]) not in told:  # the site's own is not told for each partition
                told.add(choice)
                yield finding


def _of_container(own: ContainerLimits, of: str) -> Iterable[Finding]:
    where = f"[{of}container]"
    if not own.readonly_root:
        yield Finding(
            "readonly-root", "weak", "rootfs", f"{where} readonly_root = false",
            "a container may fill the node's disk through its own layer, which no limit of the job bounds",
            f"{TOML}: {where} readonly_root = true; give users a scratch directory to mount.",
        )  # fmt: skip
    if own.number > 256:
        yield Finding(
            "container-number", "weak", "resources", f"{where} number = {own.number}",
            "each container has a shim of some 10 MiB outside of the job's memory limit",
            f"{TOML}: {where} number = 256, or less.",
        )  # fmt: skip
    if own.number * own.log_megabytes > 65_536:
        yield Finding(
            "container-logs", "weak", "logs",
            f"{where} number times log_megabytes is {own.number * own.log_megabytes // 1024} GiB",
            "so much may one job write to the node's disk by printing", f"{TOML}: {where} less of either.",
        )  # fmt: skip

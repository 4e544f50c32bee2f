# SPDX-License-Identifier: Apache-2.0
"""Slurm: does it run the hooks as they need it, and does its own confinement hold. Pure.

Source of facts: `scontrol show config`, which has slurm.conf and cgroup.conf as Slurm reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from slurm_hooks.knobs.node import Finding, Level, Node

EPILOG_BOUND = 113  # its bound without the site's grace: docs/operators.md, "The end of a job"
UNLIMITED = 65_534  # INFINITE16 of slurm.h, as scontrol prints a timeout that is not set
INCLUDE = "In slurm.conf: Include /etc/slurm/slurm-hooks.conf; then run: scontrol reconfigure."
HOLDS = "jobs have no cgroup that holds them"


def check(node: Node) -> Iterable[Finding]:
    """What scontrol says."""
    said = node.slurm
    if not said:
        yield Finding(
            "slurm-unasked", "weak", "slurm", "slurm.conf was not looked at", "slurmctld did not answer scontrol",
            "Run this again where `scontrol ping` says UP.",
        )  # fmt: skip
        return
    yield from _hooks(node)
    yield from _cgroup_conf(node)
    if "proctrack/cgroup" not in said.get("ProctrackType", ""):
        yield Finding(
            "proctrack", "wrong", "slurm", f"ProctrackType is {said.get('ProctrackType')}", HOLDS,
            _line("ProctrackType=proctrack/cgroup"),
        )  # fmt: skip
    if "task/cgroup" not in said.get("TaskPlugin", "").split(","):
        yield Finding(
            "task-plugin", "wrong", "slurm", f"TaskPlugin is {said.get('TaskPlugin')}", HOLDS,
            _line("TaskPlugin=task/affinity,task/cgroup"),
        )  # fmt: skip
    flags = set(said.get("PrologFlags", "").lower().split(","))
    if not {"alloc", "contain"} & flags:
        yield Finding(
            "prolog-flags", "weak", "slurm", "PrologFlags is without Alloc and Contain",
            "the Prolog runs with a job's first step only: the script of a batch job may be without a limit",
            _line("PrologFlags=Contain"),
        )  # fmt: skip
    if not said.get("SlurmdUser", "root").startswith("root"):
        yield Finding(
            "slurmd-user", "wrong", "slurm", f"slurmd runs as {said['SlurmdUser']}",
            "so do the Prolog and the Epilog, which must be root", _line("SlurmdUser=root"),
        )  # fmt: skip
    bound = EPILOG_BOUND + node.site.container.grace_seconds
    for name in ("EpilogTimeout", "PrologEpilogTimeout"):  # the first one since 25.05
        seconds = int((re.match(r"\d+", said.get(name, "")) or ["0"])[0])
        if 0 < seconds < bound and seconds != UNLIMITED:
            yield Finding(
                "epilog-timeout", "weak", "slurm", f"{name} = {seconds}",
                "an Epilog on a node whose dockerd hangs is killed, and the node drains without a reason",
                _line(f"{name}={bound}, or more, or none"),
            )  # fmt: skip


def _hooks(node: Node) -> Iterable[Finding]:
    missing = [name for name, runs in node.hooks.items() if not runs]
    if "Prolog" in missing:
        yield _unrun("hook-prolog", "wrong", "Prolog", "no job is bounded, and none gets Docker")
    if "Epilog" in missing:
        yield _unrun("hook-epilog", "wrong", "Epilog", "nothing ends what a job leaves")
    if "TaskProlog" in missing:
        yield _unrun("hook-task-prolog", "weak", "TaskProlog", "docker does not find its socket (DOCKER_HOST)")
    if "TaskEpilog" in missing:
        yield _unrun("hook-task-epilog", "weak", "TaskEpilog", "no job is told what became of its containers")


def _unrun(name: str, level: Level, hook: str, why: str) -> Finding:
    return Finding(name, level, "slurm", f"no {hook} of slurm.conf runs slurm-hooks", why, INCLUDE)


def _cgroup_conf(node: Node) -> Iterable[Finding]:
    said = node.slurm
    if said.get("CgroupPlugin", "").startswith("disabled"):
        yield Finding(
            "cgroup-plugin", "wrong", "slurm", "CgroupPlugin is disabled", HOLDS, _cgroup("CgroupPlugin=autodetect")
        )
    if said.get("ConstrainRAMSpace") == "no":
        yield Finding(
            "constrain-ram", "weak", "slurm", "ConstrainRAMSpace = no",
            "neither a job nor its containers are held to the memory that they asked for",
            _cgroup("ConstrainRAMSpace=yes"),
        )  # fmt: skip
    if said.get("ConstrainCores") == "no" and "cpuset" in node.controllers:
        yield Finding(
            "constrain-cores", "weak", "slurm", "ConstrainCores = no",
            "a job's containers may use the processors of all the others", _cgroup("ConstrainCores=yes"),
        )  # fmt: skip
    if said.get("ConstrainDevices") == "no" and said.get("GresTypes", "(null)") != "(null)":
        yield Finding(
            "constrain-devices", "weak", "slurm", f"ConstrainDevices = no, and the nodes have {said['GresTypes']}",
            "a job script reaches the devices of others; a container does not", _cgroup("ConstrainDevices=yes"),
        )  # fmt: skip


def _line(text: str) -> str:
    return f"In slurm.conf: {text}; then run: scontrol reconfigure."


def _cgroup(text: str) -> str:
    return f"In cgroup.conf: {text}; then restart slurmd."

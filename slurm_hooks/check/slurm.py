# SPDX-License-Identifier: Apache-2.0
"""Slurm: does it run the hooks as they need it, and does its own confinement hold. Pure.

Source of facts: `scontrol show config`, which has slurm.conf and cgroup.conf as Slurm reads them.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks import needs
from slurm_hooks.check import access
from slurm_hooks.knobs.node import Finding, Level, Node
from slurm_hooks.needs import Asked

HOLDS = "jobs have no cgroup that holds them"


def asked(node: Node) -> Asked:
    """What of the node its needs depend on."""
    return Asked(
        cpuset="cpuset" in node.controllers,
        adopts=access.adopts(node),
        grace=node.site.container.grace_seconds,
        selinux=bool(node.selinux),
        shared=node.site.docker.socket in ("/run/docker.sock", "/var/run/docker.sock"),
    )


def check(node: Node) -> Iterable[Finding]:
    """What scontrol says."""
    if not node.slurm:
        yield Finding(
            "slurm-unasked", "weak", "slurm", "slurm.conf was not looked at", "slurmctld did not answer scontrol",
            "Run this again where `scontrol ping` says UP.",
        )  # fmt: skip
        return
    yield from _hooks(node)
    said, wanted = needs.shown(node.slurm), asked(node)
    if mend := needs.line_for("proctrack", said, wanted):
        yield Finding("proctrack", "wrong", "slurm", f"ProctrackType is {said['ProctrackType']}", HOLDS, mend)
    if mend := needs.line_for("task-plugin", said, wanted):
        yield Finding("task-plugin", "wrong", "slurm", f"TaskPlugin is {said['TaskPlugin'] or 'none'}", HOLDS, mend)
    if mend := needs.line_for("prolog-flags", said, wanted):
        yield Finding(
            "prolog-flags", "weak", "slurm", "PrologFlags is without Alloc and Contain",
            "the Prolog runs with a job's first step only: the script of a batch job may be without a limit", mend,
        )  # fmt: skip
    if needs.epilog_may_be_the_users(said):
        yield Finding(
            "run-in-job", "weak", "slurm", f"PrologFlags has RunInJob, on Slurm {said['SLURM_VERSION']}",
            "now and then Slurm 24.11 to 25.11 runs such an Epilog as the job's user, not as root: what the job left "
            "stays until the sweep", "In slurm.conf: PrologFlags without RunInJob; or Slurm 26.05.",
        )  # fmt: skip
    if mend := needs.line_for("slurmd-user", said, wanted):
        yield Finding(
            "slurmd-user", "wrong", "slurm", f"slurmd runs as {said['SlurmdUser']}",
            "so do the Prolog and the Epilog, which must be root", mend,
        )  # fmt: skip
    if mend := needs.line_for("epilog-timeout", said, wanted):
        seconds = said.get("EpilogTimeout") or said["PrologEpilogTimeout"]
        yield Finding(
            "epilog-timeout", "weak", "slurm", f"an Epilog has {seconds} s",
            "an Epilog on a node whose dockerd hangs is killed, and the node drains without a reason", mend,
        )  # fmt: skip
    if mend := needs.line_for("cgroup-plugin", said, wanted):
        yield Finding("cgroup-plugin", "wrong", "slurm", "CgroupPlugin is disabled", HOLDS, mend)
    if mend := needs.line_for("constrain-ram", said, wanted):
        yield Finding(
            "constrain-ram", "weak", "slurm", "ConstrainRAMSpace = no",
            "neither a job nor its containers are held to the memory that they asked for", mend,
        )  # fmt: skip
    if mend := needs.line_for("constrain-cores", said, wanted):
        yield Finding(
            "constrain-cores", "weak", "slurm", "ConstrainCores = no",
            "a job's containers may use the processors of all the others", mend,
        )  # fmt: skip
    if mend := needs.line_for("constrain-devices", said, wanted):
        yield Finding(
            "constrain-devices", "weak", "slurm", f"ConstrainDevices = no, and the nodes have {said['GresTypes']}",
            "a job script reaches the devices of others; a container does not", mend,
        )  # fmt: skip


def _hooks(node: Node) -> Iterable[Finding]:
    missing = {name: needs.hook_line(name, needs.shown(node.slurm)) for name, runs in node.hooks.items() if not runs}
    if mend := missing.get("Prolog"):
        yield _unrun("hook-prolog", "wrong", "Prolog", "no job is bounded, and none gets Docker", mend)
    if mend := missing.get("Epilog"):
        yield _unrun("hook-epilog", "wrong", "Epilog", "nothing ends what a job leaves", mend)
    if mend := missing.get("TaskProlog"):
        yield _unrun("hook-task-prolog", "weak", "TaskProlog", "docker does not find its socket (DOCKER_HOST)", mend)
    if mend := missing.get("TaskEpilog"):
        yield _unrun("hook-task-epilog", "weak", "TaskEpilog", "no job is told what became of its containers", mend)


def _unrun(name: str, level: Level, hook: str, why: str, mend: str) -> Finding:
    return Finding(name, level, "slurm", f"no {hook} of slurm.conf runs slurm-hooks", why, mend)

# SPDX-License-Identifier: Apache-2.0
"""End what a job left: operations as values, listed, printed (--dry-run), then done; then judged afresh.

Every operation is idempotent and raises nothing: what it could not do is seen
by escapes.everything, whose answer alone is the verdict.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Protocol

from slurm_hooks import cgroups, config, escapes, events, jobs, stages
from slurm_hooks.errors import NodeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slurm_hooks.engine import Engine

KILL_SECONDS = 8.0  # a process that is still there this long after SIGKILL waits in the kernel
DOCKER_SECONDS = 10.0  # for dockerd to come (back), as after a restart, and to agree


@dataclass
class Node:
    """What the operations act on."""

    cgroup: cgroups.Hierarchy
    docker_socket: str
    run: str = config.RUN
    engine: Engine | None = None
    fault: str = ""  # why there is no engine

    def docker(self, within: float = DOCKER_SECONDS) -> Engine | None:
        """dockerd, waited for; None (and `fault`) where it does not come."""
        # The SDK takes 0.1 s to import: here, while dockerd takes down what EndProcesses has killed.
        from slurm_hooks.engine import Engine

        deadline = time.monotonic() + within
        while self.engine is None:
            try:
                self.engine = Engine(self.docker_socket)
            except NodeFault as error:
                self.fault = str(error)
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.2)
        return self.engine


class Operation(Protocol):
    """A step of the teardown; `str()` describes it in one line."""

    def do(self, node: Node) -> None:
        """Do it; doing it again is harmless."""


@dataclass(frozen=True)
class EndProcesses:
    """SIGKILL to a cgroup and all below it, and wait for them to go."""

    path: str

    def __str__(self) -> str:
        return f"end every process in {self.path}"

    def do(self, node: Node) -> None:
        node.cgroup.kill(self.path)
        node.cgroup.wait_empty(self.path, KILL_SECONDS)


@dataclass(frozen=True)
class RemoveContainers:
    """All containers of the job, by label and by the broker's notes."""

    key: str
    noted: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove the containers labelled {self.key} and {len(self.noted)} noted ones"

    def do(self, node: Node) -> None:
        engine = node.docker()
        if engine is None:
            return
        deadline = time.monotonic() + DOCKER_SECONDS
        ids = [str(container["Id"]) for container in engine.containers(self.key)]
        while ids and time.monotonic() < deadline:
            engine.remove(ids)
            ids = [str(container["Id"]) for container in engine.containers(self.key)]


@dataclass(frozen=True)
class Unstage:
    """The staged bind mounts of the job, and their directories."""

    key: str

    def __str__(self) -> str:
        return f"unmount and remove the stages of {self.key}"

    def do(self, node: Node) -> None:
        for directory in stages.of_job(self.key, node.run):
            stages.remove(directory)


@dataclass(frozen=True)
class RemoveCgroup:
    """The job's cgroup with all below it, in every hierarchy."""

    root: str
    path: str

    def __str__(self) -> str:
        return f"remove the cgroup {self.path}"

    def do(self, node: Node) -> None:
        deadline = time.monotonic() + 2.0  # slurmstepd may still be removing it, and dockerd its children
        while node.cgroup.remove(self.root, self.path) and time.monotonic() < deadline:
            time.sleep(0.01)


def plan(job: jobs.Job, run: str = config.RUN) -> list[Operation]:
    """The operations for a job, in order. Reads the node, changes nothing."""
    cgroup = cgroups.of(job.version)
    inside = escapes.is_inside(job, cgroup)
    targets = containers_cgroups(job) if inside else [job.cgroup]
    operations: list[Operation] = [EndProcesses(path) for path in targets]
    operations.append(RemoveContainers(job.key, tuple(escapes.container_ids(job, run))))
    operations.append(Unstage(job.key))
    operations += [RemoveCgroup(job.root, path) for path in targets]
    return operations


def containers_cgroups(job: jobs.Job) -> list[str]:
    """The cgroups directly below the job's that are not Slurm's own steps."""
    hierarchy = f"{cgroups.MOUNT}/pids" if job.version == 1 else cgroups.MOUNT
    try:
        names = [entry.name for entry in os.scandir(hierarchy + job.cgroup) if entry.is_dir()]
    except FileNotFoundError:
        return []
    return [f"{job.cgroup}/{name}" for name in names if not name.startswith("step_")]


def verdict(job: jobs.Job, docker_socket: str, run: str = config.RUN) -> tuple[str, list[escapes.Left]]:
    """Do the plan, look again; ("clean" or the reason that an operator reads, what is left)."""
    node = Node(cgroups.of(job.version), docker_socket, run)
    for operation in plan(job, run):
        operation.do(node)
    beside = escapes.beside(job)
    left = [*escapes.everything(job, listed(node, job), run=run), *beside]
    if node.engine is None and jobs.had_containers(job.key, run):
        left.insert(0, escapes.Left("container", f"its containers, unknown: {node.fault}", "the broker's notes"))
    return told(job, left), left


def beside(job: jobs.Job) -> str:
    """The same for a job that had no container, and whose cgroup is gone: "clean" or the reason."""
    return told(job, escapes.beside(job))


def told(job: jobs.Job, left: list[escapes.Left]) -> str:
    """An event for each thing that is left; "clean" or the reason that an operator reads."""
    for one in left:
        events.record("left", job=job.id, restart=job.restart, kind=one.kind, what=one.what, evidence=one.evidence)
    return reason(job, left) if left else "clean"


def listed(node: Node, job: jobs.Job) -> list[dict[str, Any]]:
    """The job's containers as dockerd lists them now; none where it does not answer (then that is the reason)."""
    if node.engine is None:
        return []
    try:
        return node.engine.containers(job.key)
    except NodeFault as error:
        node.engine, node.fault = None, str(error)
        return []


def reason(job: jobs.Job, left: list[escapes.Left]) -> str:
    """The node's drain reason: one line, the culprit first, short enough for `sinfo -R -o %200E`."""
    first = next((one for one in left if one.kind == "process"), left[0])
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    outlived = f": not ended by SIGKILL in {KILL_SECONDS:.0f} s" if first.kind == "process" else ""
    return (
        f"slurm-hooks: job {job.id} ({job.user}) left {first.what}{more}{outlived}; "
        f"see slurm-hooks report {job.id}, then run slurm-hooks epilog {job.id}"
    )

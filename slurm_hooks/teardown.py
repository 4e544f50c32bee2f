# SPDX-License-Identifier: Apache-2.0
"""End what a job left: operations as values, listed, printed (--dry-run), then done; then judged afresh.

Every operation is idempotent and raises nothing: what it could not do is seen
by escapes.everything, whose answer alone is the verdict. One that raises has a
bug; the others are done all the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from slurm_hooks import bridges, cgroups, config, escapes, events, jobs, linux, stages, tasks
from slurm_hooks.errors import NodeFault, unforeseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm_hooks.engine import Engine

KILL_SECONDS = 8.0  # a process that is still there this long after SIGKILL waits in the kernel
DOCKER_SECONDS = 10.0  # for dockerd to come (back), as after a restart, and to agree; hung, it costs all of them
# More for a dockerd that answers: it waits 10 s itself for the end of a container that it kills, and on a busy node
# says then that it did not come. Asked once more, it removes it.
AGAIN_SECONDS = 5.0
NETWORK_SECONDS = 5.0  # for dockerd to let go of a network, once its containers are removed
CONTAINERD_SECONDS = 6.0  # for containerd to take down what dockerd did not
TERM_BIT = 1 << 14  # SIGTERM in the masks of proc_pid_status(5)


@dataclass
class Node:
    """What the operations act on."""

    cgroup: cgroups.Hierarchy
    docker_socket: str
    run: str = config.RUN
    engine: Engine | None = None
    fault: str = ""  # why there is no engine
    listed: list[dict[str, Any]] = field(default_factory=list)  # the job's containers, by dockerd's last list

    def docker(self, within: float = DOCKER_SECONDS) -> Engine | None:
        """dockerd, waited for; None (and `fault`) where it does not come."""
        # Imported here, while dockerd takes down what EndProcesses has killed.
        from slurm_hooks.engine import Engine

        deadline = time.monotonic() + within
        while self.engine is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                self.engine = Engine(self.docker_socket, max(1, int(left)))  # one that hangs takes all that is left
            except NodeFault as error:
                self.fault = str(error)
                time.sleep(0.2)
        return self.engine

    def lost(self, error: NodeFault) -> None:
        """dockerd went while it was asked."""
        self.engine, self.fault, self.listed = None, str(error), []


class Operation(Protocol):
    """A step of the teardown; `str()` describes it in one line."""

    def do(self, node: Node) -> None:
        """Do it; doing it again is harmless."""


@dataclass(frozen=True)
class Ask:
    """SIGTERM to all that runs in containers, and time for those that catch it: the site's grace."""

    paths: tuple[str, ...]
    seconds: int

    def __str__(self) -> str:
        return f"SIGTERM to the processes in {len(self.paths)} containers, and at most {self.seconds} s for them to end"

    def do(self, node: Node) -> None:
        deadline = time.monotonic() + self.seconds
        # What does not catch it (or is a container's first process without a handler) is not waited for. Asked
        # before: a program that is at its end often has no handler any more.
        waited = {pid for pid in self._pids(node) if _catches_term(pid)}
        for pid in self._pids(node):
            linux.kill_where(pid, lambda pid=pid: linux.is_inside(pid, *self.paths), 15)  # type: ignore[misc]
        while any(pid in waited and _runs(pid) for pid in self._pids(node)) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _pids(self, node: Node) -> list[int]:
        return [pid for path in self.paths for pid in node.cgroup.processes(path)]


def _catches_term(pid: int) -> bool:
    try:
        return bool(int(linux.status_of(pid)["SigCgt"], 16) & TERM_BIT)
    except (OSError, KeyError):
        return False


def _runs(pid: int) -> bool:
    try:
        return not linux.status_of(pid)["State"].startswith("Z")
    except (OSError, KeyError):
        return False


@dataclass(frozen=True)
class EndProcesses:
    """SIGKILL to cgroups and all below them, and wait for them to go; one deadline for all."""

    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"end every process in {', '.join(self.paths)}"

    def do(self, node: Node) -> None:
        for path in self.paths:
            node.cgroup.kill(path)
        deadline = time.monotonic() + KILL_SECONDS
        for path in self.paths:
            node.cgroup.wait_empty(path, max(0.0, deadline - time.monotonic()))


@dataclass(frozen=True)
class RemoveContainers:
    """All containers of the job that dockerd knows, by label."""

    key: str
    noted: tuple[str, ...]  # the ids that are known
    own: tuple[str, ...] = ()  # the cgroups of the containers, named after their ids
    seconds: float = DOCKER_SECONDS

    def __str__(self) -> str:
        return f"remove the containers labelled {self.key} ({len(self.noted)} are known)"

    def do(self, node: Node) -> None:
        begun = time.monotonic()
        engine = node.docker()
        if engine is None:
            return
        try:
            # What is known goes without a list: that costs the more, the more containers others have.
            before = {*self.noted}
            if ready := before - running(self.own, node):
                engine.remove(sorted(ready))
            while ids := self._listed(engine, node):
                if len(ids) < len(before):  # it works, slowly: a busy node is no broken one
                    begun = time.monotonic()
                elif ids == before:  # it removes them already, as the broker or a --rm has asked it to
                    time.sleep(0.1)
                before = ids
                # What the kernel does not let go dockerd cannot remove; it would only wait, too.
                ready = ids - running(self.own, node)
                if time.monotonic() - begun >= self.seconds + (AGAIN_SECONDS if ready else 0.0):
                    break
                if ready:
                    engine.remove(sorted(ready))
        except NodeFault as error:
            node.lost(error)

    def _listed(self, engine: Engine, node: Node) -> set[str]:
        node.listed = engine.containers(self.key)
        return {str(container["Id"]) for container in node.listed}


def running(paths: tuple[str, ...], node: Node) -> set[str]:
    """The ids of the containers in whose cgroups a process is left."""
    return {path.rpartition("/")[2] for path in paths if node.cgroup.processes(path)}


@dataclass(frozen=True)
class EndTasks:
    """What containerd still has of them after dockerd's turn: the kernel's view wins, dockerd is brought to agree."""

    key: str
    ids: tuple[str, ...]
    own: tuple[str, ...] = ()  # the cgroups of the containers, named after their ids

    def __str__(self) -> str:
        return f"end what containerd still has of {len(self.ids)} containers: task, shim, root mount"

    def do(self, node: Node) -> None:
        # containerd's own part waits for the same process.
        left = tasks.of({*self.ids} - running(self.own, node))
        if left:
            tasks.end(left, CONTAINERD_SECONDS)
            if node.engine is not None:  # which may have waited for just these
                RemoveContainers(self.key, (), self.own, 0.0).do(node)


@dataclass(frozen=True)
class RemoveNetworks:
    """The job's own part of restricted networks, by label; and a bridge that dockerd knows nothing of."""

    job: int
    key: str

    def __str__(self) -> str:
        return f"remove the docker networks labelled {self.key}, and their bridges"

    def do(self, node: Node) -> None:
        engine = node.engine  # RemoveContainers has waited for it
        if engine is None:
            return
        from slurm_hooks.engine import LABEL_JOB

        try:
            deadline = time.monotonic() + NETWORK_SECONDS
            # dockerd lets a container's end of it go a moment after the container.
            while there := engine.networks(f"{LABEL_JOB}={self.key}"):
                problems = [engine.remove_network(str(network["Id"])) for network in there]
                if any(problems):
                    if time.monotonic() > deadline:
                        return
                    time.sleep(0.1)
            known = bridges.of_networks(engine.networks())
            for bridge in bridges.of_job(self.job):
                if bridge not in known:
                    bridges.remove(bridge)
        except NodeFault as error:
            node.lost(error)
        except OSError:
            pass  # the fresh look will tell


@dataclass(frozen=True)
class UnmountRoots:
    """The roots of containers that are mounted still: dockerd was killed between a container's end and its removal."""

    roots: tuple[str, ...]

    def __str__(self) -> str:
        return f"unmount what is left of the roots of {len(self.roots)} containers"

    def do(self, node: Node) -> None:
        tasks.unmount(self.roots)


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


def plan(
    job: jobs.Job, run: str = config.RUN, grace: int = 0, noted: Mapping[str, escapes.Noted] | None = None
) -> list[Operation]:
    """The operations for a job, in order. Reads the node, changes nothing.

    Args:
        grace: in seconds.
        noted: as escapes.noted; None: it is asked.
    """
    cgroup = cgroups.of(job.version)
    places = escapes.places(job, run)
    own = containers_cgroups(job) if places == [job.cgroup] else places
    targets = tuple(own if escapes.is_inside(job, cgroup) else places)
    # By the broker's notes and by the kernel: a note may be damaged, and what runs has a cgroup.
    noted = escapes.noted(job, run) if noted is None else noted
    ids = {*noted, *(path.rpartition("/")[2] for path in own)}
    operations: list[Operation] = [Ask(tuple(own), grace)] if grace and own else []
    if targets:
        operations.append(EndProcesses(targets))
    operations.append(RemoveContainers(job.key, tuple(sorted(noted)), tuple(own)))
    operations.append(EndTasks(job.key, tuple(sorted(ids)), tuple(own)))
    if escapes.has_networks(job, run):
        operations.append(RemoveNetworks(job.id, job.key))
    if roots := {one.root for one in noted.values() if one.root}:
        operations.append(UnmountRoots(tuple(sorted(roots))))
    operations.append(Unstage(job.key))
    operations += [RemoveCgroup(job.root, path) for path in targets]
    return operations


def containers_cgroups(job: jobs.Job) -> list[str]:
    """The cgroups directly below the job's that are not Slurm's own steps."""
    return cgroups.containers(f"{cgroups.MOUNT}/pids" if job.version == 1 else cgroups.MOUNT, job.cgroup)


def verdict(
    job: jobs.Job, docker_socket: str, run: str = config.RUN, grace: int = 0, *, late: bool = False
) -> tuple[str, list[escapes.Left]]:
    """Do the plan, look again; ("clean" or the reason that an operator reads, what is left). `late`: escapes.beside."""
    node = Node(cgroups.of(job.version), docker_socket, run)
    known = escapes.noted(job, run)
    bug = ""
    for operation in plan(job, run, grace, known):
        try:
            operation.do(node)
        except Exception as error:  # our own bug: it must not cost the other operations
            bug = unforeseen(error)
            events.record("epilog-bug", job=job.id, restart=job.restart, why=f"{operation}: {bug}")
    beside = escapes.beside(job, late=late)
    left = [*escapes.everything(job, listed(node, job), known, run=run), *beside]
    if node.engine is None and jobs.had_containers(job.key, run):
        left.insert(0, escapes.Left("container", f"its containers, unknown: {node.fault}", "the broker's notes"))
    return told(job, left, bug), left


def beside(job: jobs.Job, *, late: bool = False) -> str:
    """The same for a job that had no container, and whose cgroup is gone: "clean" or the reason."""
    return told(job, escapes.beside(job, late=late))


def told(job: jobs.Job, left: list[escapes.Left], bug: str = "") -> str:
    """An event for each thing that is left; "clean" or the reason that an operator reads."""
    for one in left:
        events.record("left", job=job.id, restart=job.restart, kind=one.kind, what=one.what, evidence=one.evidence)
    return reason(job, left, bug) if left else "clean"


def listed(node: Node, job: jobs.Job) -> list[dict[str, Any]]:
    """The job's containers as dockerd lists them now; none where it does not answer (then that is the reason)."""
    if node.engine is None or not node.listed:  # listed after the last removal
        return []
    try:
        return node.engine.containers(job.key)
    except NodeFault as error:
        node.lost(error)
        return []


def reason(job: jobs.Job, left: list[escapes.Left], bug: str = "") -> str:
    """The node's drain reason: one line, the culprit first, short enough for `sinfo -R -o %200E`.

    Args:
        bug: of ours, in the teardown that has left it.
    """
    first = next((one for one in left if one.kind == "process"), left[0])
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    if bug:
        why = f"; bug: {bug}"
    else:
        why = f": not ended by SIGKILL in {KILL_SECONDS:.0f} s" if first.kind == "process" else ""
    return (
        f"slurm-hooks: job {job.id} ({job.user}) left {first.what}{more}{why}; "
        f"see slurm-hooks report {job.id}, then run slurm-hooks epilog {job.id}"
    )

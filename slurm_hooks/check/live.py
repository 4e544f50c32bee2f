# SPDX-License-Identifier: Apache-2.0
"""`check --live`: a container as a job's, in a cgroup beside the jobs', read back from the kernel, and gone again.

The request is the policy's own (knobs.decide), and so is the judgement (knobs.verify). The container runs
`sleep` as nobody; it ends by itself where we are killed, and the next run removes what an earlier one left.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from slurm_hooks import cgroups, knobs, linux
from slurm_hooks.broker import images, model, readback
from slurm_hooks.broker.notes import new_nonce
from slurm_hooks.cgroups import slurm
from slurm_hooks.engine import Engine
from slurm_hooks.errors import HooksError, NodeFault
from slurm_hooks.knobs import ulimits
from slurm_hooks.knobs.contract import JobFacts
from slurm_hooks.knobs.node import Finding, Node

NOBODY = 65_534
LABEL = "slurm-hooks.check"  # not a job's label: neither the broker nor the sweep takes it for theirs
NAME = "slurm-hooks-check"  # of the cgroup; Slurm's own begin with job_ or are digits
SECONDS = 20  # of the container's life, where nobody ends it before
PIDS = 64
MEMORY = 256 << 20  # bytes


def check(node: Node, image: str = "") -> Iterator[Finding]:
    """Start a container, look, remove it. Takes a second or two; what hangs is given up by Engine's deadlines.

    Args:
        image: one that is on the node and has `sleep`; "": the first one that the site lets jobs run.
    """
    try:
        yield from _tried(node, image)
    except (HooksError, OSError) as error:
        yield Finding(
            "live-failed", "wrong", "live", f"no container of a job can be started: {error}",
            "that is what a user would see", "Run: journalctl -u slurm-hooks-docker -n 50; slurm-hooks check.",
        )  # fmt: skip


def _tried(node: Node, image: str) -> Iterator[Finding]:
    engine = Engine(node.site.docker.socket)
    _clear(engine)
    chosen = _image(engine, node, image)
    if chosen is None:
        yield Finding(
            "live-image", "note", "live", f"{image or 'an image that jobs may run'} is not on this node",
            "so no container was started", "Run: slurm-hooks check --live --image IMG, with one that has `sleep`.",
        )  # fmt: skip
        return
    hierarchy = cgroups.of(node.cgroup)
    root = _scope(node)
    path = f"{root}/{NAME}"
    with ExitStack() as afterwards:  # from the last to the first, each whatever became of the others
        afterwards.callback(hierarchy.remove, root, path)
        afterwards.callback(hierarchy.wait_empty, path, 2.0)
        afterwards.callback(_clear, engine)
        afterwards.callback(hierarchy.kill, path)
        hierarchy.make(root, path)
        for wrong in _differences(engine, node, chosen, path):
            yield Finding(
                "live-differs", "wrong", wrong.partition(":")[0], f"a container is not confined as asked: {wrong}",
                "the broker ends each container where it sees that, so none runs",
                "Mend what else is found here; then look at dockerd, runc and the kernel.",
            )  # fmt: skip


def _scope(node: Node) -> str:
    """Slurm's own cgroup on this node, where jobs lie. Raises NodeFault."""
    name = socket.gethostname().partition(".")[0]
    return slurm.scope(cgroups.MOUNT, name) if node.cgroup == 2 else slurm.root_of_v1(cgroups.MOUNT, name)


def _image(engine: Engine, node: Node, wish: str) -> dict[str, Any] | None:
    """The image, inspected; None: there is none of that name, or none that jobs may run."""
    names = [wish] if wish else engine.images()
    for name in names:
        found = engine.image(name)
        if found and (wish or knobs.images.admits(images.names_of(found), node.site)):
            return found
    return None


def _differences(engine: Engine, node: Node, image: dict[str, Any], path: str) -> list[str]:
    nonce = new_nonce()
    lsm = readback.lsm()
    job = JobFacts(
        f"check-{os.getpid()}", 0, NOBODY, NOBODY, (), path, nonce, PIDS, memory=MEMORY,
        limits=ulimits.parsed(linux.read("/proc/self/limits")), lsm=lsm, profiles=readback.profiles(lsm),
    )  # fmt: skip
    wish = model.Create(image=image["Id"], entrypoint=["sleep", str(SECONDS)])
    config = image.get("Config") or {}
    decision = knobs.decide(wish, job, node.site, config.get("WorkingDir") or "")
    body = decision.body({}, config.get("Volumes") or ()) | {"Labels": {LABEL: nonce}}
    pid = engine.started(body, f"{NAME}-{nonce[:12]}")
    asyncio.run(readback.own_program(pid))
    seen = readback.look(pid, node.cgroup, {}) if pid else None
    if seen is None:
        raise NodeFault("the container", "ended before it could be looked at", "Name another image: --image IMG.")
    return knobs.verify(seen, job, decision.fields)


def _clear(engine: Engine) -> None:
    """Remove what we started, and what an earlier run did that was killed. Raises NodeFault."""
    if problems := engine.remove([one["Id"] for one in engine.labelled(LABEL)]):
        raise NodeFault("the container of the check", f"cannot be removed ({problems[0]})")

# SPDX-License-Identifier: Apache-2.0
"""What a round is, drawn from a seed: the same seed gives the same rounds, whatever came of them. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

STEPS = ("prolog", "create", "start", "exec", "running", "epilog")
# Where each fault can be. A shim is there once a container of the job runs, runc while one starts, is entered or
# ends, slurmstepd between Prolog and Epilog, and a hook in its own time alone.
FAULTS: dict[str, tuple[str, ...]] = {
    "broker": STEPS,
    "dockerd": STEPS,
    "containerd": STEPS,
    "shim": ("create", "start", "exec", "running", "epilog"),
    "runc": ("start", "exec", "epilog"),
    "slurmd": STEPS,
    "slurmstepd": ("create", "start", "exec", "running"),
    "hook": ("prolog", "epilog"),
    "hang": STEPS,
    "full": STEPS,
    "clock": STEPS,
    "scancel": STEPS,
}
WORDS = {
    "broker": "SIGKILL of the broker",
    "dockerd": "SIGKILL of dockerd",
    "containerd": "SIGKILL of containerd",
    "shim": "SIGKILL of a shim of the job",
    "runc": "SIGKILL of a runc of the job",
    "slurmd": "SIGKILL of slurmd",
    "slurmstepd": "SIGKILL of a slurmstepd of the job",
    "hook": "SIGKILL of the hook itself",
    "hang": "dockerd hung (SIGSTOP), then not",
    "full": "run directory full, then not",
    "clock": "clock jumps 20 s on or back, then is right",
    "scancel": "scancel",
}
# slurmd 24.11 that comes back answers that the job is over, and runs no second Epilog; the first, stopped by us and
# orphaned with its slurmd, has had the kernel's SIGHUP (POSIX). Then it is the sweep's, as with any job without one.
SWEPT = (("slurmd", "epilog"),)
DAEMONS = ("broker", "dockerd", "containerd", "slurmd")  # killed, and started again
ABSENT = {"compose": ("clock",), "uml": ()}  # the clock of lab (a) is the machine's

# Shapes with how often each is drawn.
SHAPES = {
    "none": 2,  # no container at all
    "host": 2,  # no container, processes in the background
    "one": 4,
    "many": 2,
    "attached": 3,
    "execd": 2,
    "paused": 2,
    "bomb": 1,  # forks in a container up to its limit
    "hog": 1,  # memory up to the job's limit
    "pull": 2,  # one runs, and an image that never comes to its end is pulled (pulls.py)
}
RUNNING = ("one", "many", "attached", "execd", "paused", "bomb", "pull")  # a container of theirs runs until the end
ENTERED = ("one", "many", "attached", "execd", "pull")  # and may be entered at any time
COMPANIONS = {"": 3, "none": 4, "host": 1, "one": 2, "attached": 1, "paused": 1}


@dataclass(frozen=True)
class Round:
    """A round: what is done when, to which jobs."""

    seed: int
    number: int
    fault: str
    step: str
    shape: str  # of ann's job, at whose step the fault comes
    companion: str  # shape of a job that runs beside it; "": none
    companion_user: str
    daemon: str  # of ann's, outside of Slurm: "", "unit" or "root" (the cgroup it is in)
    ends: str  # how the jobs end: exit, or scancel
    down: float  # seconds that what is killed, hung, full or wrong stays so
    long: bool  # until the job's end is judged, where the fault can stay that long
    draws: int  # seeds what is drawn on the node

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def pairs(lab: str) -> list[tuple[str, str]]:
    """Every (fault, step) that the lab can have."""
    return [(fault, step) for fault, steps in FAULTS.items() if fault not in ABSENT[lab] for step in steps]


def shapes_for(fault: str, step: str) -> list[str]:
    """The shapes of a job that can be at that step, with what the fault needs."""
    if step == "exec":
        return list(ENTERED)
    if fault == "shim" or (fault, step) == ("runc", "epilog"):
        return list(RUNNING)
    if step in ("create", "start"):
        return [shape for shape in SHAPES if shape not in ("none", "host")]
    return list(SHAPES)


def rounds(lab: str, seed: int) -> Iterator[Round]:
    """Endless: the pairs in an order of the seed's, then again in another."""
    numbers = itertools.count()
    for block in itertools.count():
        order = pairs(lab)
        random.Random(f"{seed} {block}").shuffle(order)
        for (fault, step), number in zip(order, numbers, strict=False):
            yield drawn(seed, number, fault, step)


def drawn(seed: int, number: int, fault: str, step: str) -> Round:
    """The round of that pair and number."""
    draw = random.Random(f"{seed} {number} {fault} {step}")

    def one_of(weights: dict[str, int]) -> str:
        return draw.choices(list(weights), list(weights.values()))[0]

    return Round(
        seed=seed,
        number=number,
        fault=fault,
        step=step,
        shape=one_of({shape: SHAPES[shape] for shape in shapes_for(fault, step)}),
        companion=one_of(COMPANIONS),
        companion_user=draw.choice(("ann", "bob")),
        daemon=draw.choice(("", "unit", "root")),
        ends=draw.choice(("exit", "exit", "scancel")),
        down=round(draw.uniform(0.1, 2.0), 2),
        long=fault in ("dockerd", "hang", "containerd", "full") and step == "epilog" and draw.random() < 0.4,
        draws=draw.getrandbits(32),
    )

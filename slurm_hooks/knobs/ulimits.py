# SPDX-License-Identifier: Apache-2.0
"""Limits of each process: those of the job's own process that asked, in the place of dockerd's.

Stops: a container that has dockerd's own limits, which are root's: a million open files and locked memory without
end where the job has neither. Core files, real-time priority and niceness are off unless core is asked for: a
core is written by the node (kernel.core_pattern), which may hand it to a program of root's.
Costs: nothing; `ulimit` in a job script holds for its containers too.
Docker: --ulimit, and default-ulimits of the daemon. A wish passes up to the job's own hard limit. nproc counts all
processes of the user on the node, so it is never less than the job's unless asked: pids.max is the guard against a
fork bomb. Where dockerd itself may not raise a limit (no CAP_SYS_RESOURCE) it need not, as Slurm's is within it.
Root that is nobody outside has few pending signals and no POSIX message queues: they count on the node's root too.
The program may change its soft limits as it likes: verify reads the hard ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

UNIT = "HostConfig.Ulimits"
ROWS = (
    Row(
        UNIT, "cap", "within what the job's own process may have; what is not asked is as there",
        "the asking process's own hard limits; core 0 unless asked, rtprio and nice 0",
    ),
)  # fmt: skip
OWNS = owned(ROWS)
UNLIMITED = -1  # Docker's word for it
# Docker's names, and the kernel's in /proc/<pid>/limits (fs/proc/base.c).
NAMES = {
    "core": "Max core file size", "cpu": "Max cpu time", "data": "Max data size", "fsize": "Max file size",
    "locks": "Max file locks", "memlock": "Max locked memory", "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority", "nofile": "Max open files", "nproc": "Max processes", "rss": "Max resident set",
    "rtprio": "Max realtime priority", "rttime": "Max realtime timeout", "sigpending": "Max pending signals",
    "stack": "Max stack size",
}  # fmt: skip
NEVER = ("rtprio", "nice")  # both would let a program push others off the node's processors
OFF = ("core", *NEVER)
# Of root that is nobody outside: the kernel counts these on the maker of its user namespace too, the node's root, and
# refuses to root's own services what is above their limit (kernel/ucount.c).
OF_MAKER = {"msgqueue": (0, 0), "sigpending": (64, 64)}
LINE = re.compile(r"^(Max .*?) {2,}(\d+|unlimited) +(\d+|unlimited)", re.MULTILINE)


def parsed(text: str) -> dict[str, tuple[int, int]]:
    """/proc/<pid>/limits: Docker's name → (soft, hard), -1 for no limit."""
    found = {line[1]: (_number(line[2]), _number(line[3])) for line in LINE.finditer(text)}
    return {name: found[kernels] for name, kernels in NAMES.items() if kernels in found}


def _number(text: str) -> int:
    return UNLIMITED if text == "unlimited" else int(text)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    own = {**job.limits, **OF_MAKER} if job.remapped else job.limits
    limits = {**own, **dict.fromkeys(OFF, (0, 0))}
    asked: set[str] = set()
    for wish in units.get(UNIT, ()):
        name, soft, hard = _read(wish)
        if name in asked:
            raise Refused(f"--ulimit {name}", "given twice", "Leave one out.")
        asked.add(name)
        if name in NEVER and hard:
            raise Refused(f"--ulimit {name}={soft}:{hard}", "a job's container has no priority", "Leave it out.")
        most = own.get(name, (UNLIMITED, UNLIMITED))[1]
        if _above(hard, most):
            raise Refused(
                f"--ulimit {name}={soft}:{hard}", f"the job's own limit is {most}", f"Ask for {name}={most} or less."
            )
        limits[name] = soft, hard
    return Confinement({UNIT: [{"Name": n, "Soft": s, "Hard": h} for n, (s, h) in sorted(limits.items())]})


def _read(wish: Any) -> tuple[str, int, int]:
    match wish:
        case {"Name": str(name), "Soft": int(soft), "Hard": int(hard), **rest} if (
            name in NAMES
            and not rest
            and bool not in (type(soft), type(hard))
            and UNLIMITED <= soft < 2**63
            and UNLIMITED <= hard < 2**63
        ):
            if _above(soft, hard):
                raise Refused(f"--ulimit {name}={soft}:{hard}", "the soft limit is above the hard one", "Swap them.")
            return name, soft, hard
    raise Refused("--ulimit", "not a limit that Docker has", f"Give one of {', '.join(NAMES)} as NAME=SOFT:HARD.")


def _above(one: int, other: int) -> bool:
    return other != UNLIMITED and (one == UNLIMITED or one > other)


def verify(seen: Seen, job: JobFacts, asked: Mapping[str, Any]) -> list[str]:
    sent = {limit["Name"]: limit["Hard"] for limit in asked.get(UNIT, ())}
    return [
        f"its hard limit of {name} is {hard}, above {sent[name]}"
        for name, (_, hard) in seen.limits.items()
        if name in sent and _above(hard, sent[name])
    ]


def check(node: Node) -> Iterable[Finding]:
    if node.dockerd.options and not node.dockerd.options.get("default-ulimits"):
        yield Finding(
            "default-ulimits", "weak", "ulimits", "the jobs' dockerd has no limits of its own for a process",
            "a container that is no job's (an operator's) has root's: a million open files, core files; CIS 2.8",
            in_dockerd(node, "default-ulimits"),
        )  # fmt: skip

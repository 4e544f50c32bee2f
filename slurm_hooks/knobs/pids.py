# SPDX-License-Identifier: Apache-2.0
"""A bound on the container's processes and threads.

Stops: a fork bomb that eats the job's own limit, so that the job script can still
end it. The job's limit, set by the Prolog, stops it at the node's door, and one above all jobs
leaves the node itself its reserve; the figure that a container gets is never above the job's, so that
slurmstepd keeps its own.
Costs: nothing. Docker: --pids-limit; 0, negative and none all mean "unlimited" there, so a number is always sent.
dockerd drops the limit with a warning where the controller is missing: verify reads it back.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import Settings

UNIT = "HostConfig.PidsLimit"
ROWS = (
    Row(
        UNIT, "cap", "a fork bomb stays within its container; never above the job's own figure",
        "1 to {container.most_pids}; {container.pids} unless asked",
    ),
)  # fmt: skip
OWNS = owned(ROWS)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    most = min(site.container.most_pids, job.pids)
    wish = units.get(UNIT, min(site.container.pids, most))
    if wish < 0 or wish > most:
        raise Refused(f"--pids-limit {wish}", f"a container may have {most} processes here", f"Ask for 1 to {most}.")
    return Confinement({UNIT: wish})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    return [] if seen.pids_max == str(asked[UNIT]) else [f"pids.max is {seen.pids_max}, not {asked[UNIT]}"]


def check(node: Node) -> Iterable[Finding]:
    if not node.info.get("PidsLimit", True):
        yield Finding(
            "pids-controller", "wrong", "pids", "dockerd sees no pids controller", "fork bombs are not held",
            "Boot a kernel with CONFIG_CGROUP_PIDS, and without cgroup_disable=pids.",
        )  # fmt: skip

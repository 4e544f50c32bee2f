# SPDX-License-Identifier: Apache-2.0
"""A container ends with its job at the latest: never restarted, no health checks that run by themselves.

Stops: `--restart always`, which would bring a container back after the Epilog.
Costs: nothing. Docker: --restart, --health-*, --stop-signal, --stop-timeout, --rm, --init.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Units, nothing_to_see, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

RESTART = "HostConfig.RestartPolicy"
SIGNAL = re.compile(r"(SIG)?[A-Z0-9+-]{1,16}")
LONGEST_STOP = 300  # seconds
ENDS = "a container ends with its job and is not restarted"
ROWS = (
    Row(RESTART, "force", ENDS, '{"Name": "no", "MaximumRetryCount": 0}'),
    Row("Healthcheck", "force", "health checks are off in jobs, the image's own too", '{"Test": ["NONE"]}'),
    Row("StopSignal", "allow", "a signal's name or number"),
    Row(
        "StopTimeout",
        "cap",
        "the Epilog does not wait for it",
        "the Epilog does not wait for it",
        f"Give 1 to {LONGEST_STOP} seconds.",
    ),
    Row("HostConfig.AutoRemove", "allow", "the Epilog removes what is left in any case"),
    Row("HostConfig.Init", "allow", "the node's own docker-init, as the job's user"),
)
OWNS = owned(ROWS)

verify = nothing_to_see


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if RESTART in units:
        wish = units[RESTART].get("Name", "")
        raise Refused(f"--restart {wish}", ENDS, "Loop in the job script.")
    if "Healthcheck" in units and units["Healthcheck"] != {"Test": ["NONE"]}:
        raise Refused("--health-cmd", "health checks are off in jobs", "Leave it out.")
    fields: dict[str, Any] = {
        RESTART: {"Name": "no", "MaximumRetryCount": 0},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig.AutoRemove": bool(units.get("HostConfig.AutoRemove")),
        "HostConfig.Init": bool(units.get("HostConfig.Init")),
    }
    if "StopSignal" in units:
        if not SIGNAL.fullmatch(units["StopSignal"]):
            raise Refused(
                f"--stop-signal {units['StopSignal'][:20]!r}", "not a signal", "Give a name or a number: INT, 2."
            )
        fields["StopSignal"] = units["StopSignal"]
    if "StopTimeout" in units:
        if not 0 < units["StopTimeout"] <= LONGEST_STOP:
            raise Refused(
                f"--stop-timeout {units['StopTimeout']}",
                "the Epilog does not wait for it",
                f"Give 1 to {LONGEST_STOP} seconds.",
            )
        fields["StopTimeout"] = units["StopTimeout"]
    return Confinement(fields)


def check(node: Node) -> Iterable[Finding]:
    if node.info and not node.info.get("LiveRestoreEnabled"):
        yield Finding(
            "live-restore", "weak", "lifetime", "live-restore is off", "a restart of dockerd ends the jobs' containers",
            in_dockerd(node, "live-restore"),
        )  # fmt: skip

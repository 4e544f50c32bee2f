# SPDX-License-Identifier: Apache-2.0
"""A container ends with its job at the latest: never restarted, no health checks that run by themselves.

Stops: `--restart always`, which would bring a container back after the Epilog.
Costs: nothing. Docker: --restart, --health-*, --stop-signal, --stop-timeout, --rm, --init.
"""

from __future__ import annotations

import re
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Units, nothing_to_see
from slurm_hooks.settings import Settings

RESTART = "HostConfig.RestartPolicy"
OWNS = (RESTART, "Healthcheck", "StopSignal", "StopTimeout", "HostConfig.AutoRemove", "HostConfig.Init")
SIGNAL = re.compile(r"(SIG)?[A-Z0-9+-]{1,16}")
LONGEST_STOP = 300  # seconds

verify = nothing_to_see


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if RESTART in units:
        wish = units[RESTART].get("Name", "")
        raise Refused(
            f"--restart {wish}", "a container ends with its job and is not restarted", "Loop in the job script."
        )
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
            raise Refused(f"--stop-signal {units['StopSignal'][:20]!r}", "not a signal")
        fields["StopSignal"] = units["StopSignal"]
    if "StopTimeout" in units:
        if not 0 < units["StopTimeout"] <= LONGEST_STOP:
            raise Refused(f"--stop-timeout {units['StopTimeout']}", f"1 to {LONGEST_STOP} seconds")
        fields["StopTimeout"] = units["StopTimeout"]
    return Confinement(fields)

# SPDX-License-Identifier: Apache-2.0
"""Logs: a json file of bounded size.

Stops: a container that fills the node's disk by printing, and log drivers that
make the daemon open connections as root.
Costs: `docker logs` forgets what is older than the bound (container.log_megabytes).
Docker: --log-driver, --log-opt; `none` may be asked for, and docker-py reads output only from json-file.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Units, nothing_to_see, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

UNIT = "HostConfig.LogConfig"
KEPT = "logs are kept by the node, in a file of bounded size"
ROWS = (
    Row(UNIT, "force", KEPT, "json-file, {container.log_megabytes} MiB in two files; or none, where it is asked for"),
    Row(f"{UNIT}.Type", "force", KEPT, "json-file, or none where it is asked for"),
    Row(f"{UNIT}.Config", "force", KEPT, "max-file 2, max-size a half of {container.log_megabytes} MiB"),
)
OWNS = owned(ROWS)

verify = nothing_to_see


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    wish = units.get(UNIT, {})
    if set(wish) - {"Type", "Config"} or wish.get("Type") not in (None, "", "none", "json-file") or wish.get("Config"):
        raise Refused("--log-driver, --log-opt", KEPT, "Leave them out.")
    if wish.get("Type") == "none":
        return Confinement({UNIT: {"Type": "none", "Config": {}}})
    half = max(1, site.container.log_megabytes * 1024 // 2)
    return Confinement({UNIT: {"Type": "json-file", "Config": {"max-size": f"{half}k", "max-file": "2"}}})


def check(node: Node) -> Iterable[Finding]:
    driver = node.info.get("LoggingDriver", "json-file")
    if driver not in ("json-file", "local", "none"):
        yield Finding(
            "log-driver", "weak", "logs", f"dockerd's default log driver is {driver}",
            "the broker asks for json-file each time; what an operator starts there is sent away by dockerd as root",
            in_dockerd(node, "log-driver"),
        )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Who makes the container: the node's own runc, with no hints of the user's.

Stops: another runtime, which would run as root beside ours (dockerd takes any shim on its PATH by name);
annotations, which runtimes and their hooks obey.
Costs: nothing. Docker: --runtime, --annotation, --isolation; and fields of Windows and of image builds.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.contract import Row, as_asked, nothing_to_see, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd

WINDOWS = "a field of Docker on Windows"
BUILDS = "a field of image builds, which a container does not have"
ROWS = (
    Row("HostConfig.Runtime", "deny", "the node's own runtime makes each container"),
    Row("HostConfig.Annotations", "deny", "annotations reach the runtime, which is root", todo="Use --label."),
    Row("HostConfig.Isolation", "deny", WINDOWS),
    Row("HostConfig.CpuCount", "deny", WINDOWS, todo="Use --cpus."),
    Row("HostConfig.CpuPercent", "deny", WINDOWS, todo="Use --cpus."),
    Row("HostConfig.IOMaximumIOps", "deny", WINDOWS),
    Row("HostConfig.IOMaximumBandwidth", "deny", WINDOWS),
    Row("ArgsEscaped", "deny", WINDOWS),
    Row("OnBuild", "deny", BUILDS),
    Row("Shell", "deny", BUILDS),
)
OWNS = owned(ROWS)

confine = as_asked
verify = nothing_to_see


def check(node: Node) -> Iterable[Finding]:
    name = node.info.get("DefaultRuntime", "runc")
    if name != "runc":
        yield Finding(
            "default-runtime", "weak", "runtime", f"containers are made by {name}, not by runc",
            "a runtime and its hooks are root on the node, and the suite knows runc alone; what crun 1.21 bind-mounts "
            "has no nosuid,nodev, so such containers are ended at their start",
            in_dockerd(node, "default-runtime"),
        )  # fmt: skip

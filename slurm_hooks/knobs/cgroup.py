# SPDX-License-Identifier: Apache-2.0
"""The container's cgroup lies below the job's own, and it sees no other.

Stops: a container that outgrows or outlives its job: Slurm's memory, CPU and our
pids limits of the job hold for it, and the Epilog finds it.
Costs: sacct does not count it (Slurm reads task cgroups only); `slurm-hooks report` does.
Docker: --cgroup-parent, --cgroupns, --security-opt writable-cgroups. `--cgroupns=host` would strip nsdelegate from
the whole node's cgroup mount (seen with runc 1.1.15 and 1.3.6), so it is never sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.needs import no_parent_from_client
from slurm_hooks.settings import Settings

BELOW = "a job's container lies below the job's own cgroup"
OWN = "a job's container sees its own cgroup only"
ROWS = (
    Row("HostConfig.CgroupParent", "force", BELOW, "<cgroup>"),
    Row("HostConfig.CgroupnsMode", "force", OWN, "private"),
    Row("HostConfig.Cgroup", "deny", BELOW),
    Row("HostConfig.SecurityOpt:writable-cgroups", "deny", "limits are the job's, and not a container's to write"),
)
OWNS = owned(ROWS)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if "HostConfig.CgroupParent" in units:
        parent = units["HostConfig.CgroupParent"]
        raise Refused(f"--cgroup-parent={parent}", BELOW, "Leave it out.")
    if units.get("HostConfig.CgroupnsMode", "private") != "private":
        raise Refused("--cgroupns=host", OWN, "Leave it out.")
    return Confinement({"HostConfig.CgroupParent": job.cgroup, "HostConfig.CgroupnsMode": "private"})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    parent = seen.cgroup.rpartition("/")[0]
    return [] if parent == job.cgroup else [f"its cgroup is {seen.cgroup}, not below {job.cgroup}"]


def check(node: Node) -> Iterable[Finding]:
    driver = node.info.get("CgroupDriver", "cgroupfs")
    if driver != "cgroupfs":
        yield Finding(
            "cgroup-driver", "wrong", "cgroup", f"the cgroup driver of the jobs' dockerd is {driver}",
            "it places no container below a job", in_dockerd(node, "cgroup-driver"),
        )  # fmt: skip
    if no_parent_from_client(node.dockerd.options) != node.dockerd.options:
        yield Finding(
            "cgroup-parent-from-client", "wrong", "cgroup", "cgroup-parent-from-client is on",
            "dockerd takes the cgroup of who asks it, and that is the broker, for each container of each job",
            in_dockerd(node, "cgroup-parent-from-client"),
        )  # fmt: skip
    if node.cgroup == 2 and "nsdelegate" not in node.cgroup_options:
        options = ",".join((*node.cgroup_options, "nsdelegate"))
        yield Finding(
            "nsdelegate", "weak", "cgroup", "the cgroup mount has lost nsdelegate",
            "a cgroup namespace is no boundary then: who can write in one may raise limits and move processes out; "
            "a container with --cgroupns=host takes the option from the whole node (runc 1.1 to 1.3)",
            f"Run: mount -o remount,{options} /sys/fs/cgroup.",
        )  # fmt: skip

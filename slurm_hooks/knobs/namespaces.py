# SPDX-License-Identifier: Apache-2.0
"""Process ids, IPC and host name: namespaces of the container's own, never the node's or another's.

Stops: seeing and signalling processes of the node, shared memory of others,
joining a foreign container.
Costs: containers of one job do not share memory; use a file in /dev/shm of one container, or a bind mount.
Docker: --pid, --ipc, --uts, --volumes-from's kin `container:<id>`; --sysctl. The user namespace: userns.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import Settings

IPC = "HostConfig.IpcMode"
OWN = "a job's container has its own namespaces, apart from the node's and others'"
ROWS = (
    Row("HostConfig.PidMode", "deny", OWN, todo="Leave --pid out."),
    Row(IPC, "force", OWN, "private"),
    Row("HostConfig.UTSMode", "deny", OWN, todo="Leave --uts out."),
    Row("HostConfig.Sysctls", "deny", "settings of the kernel are not a container's to change"),
)
OWNS = owned(ROWS)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if units.get(IPC, "private") != "private":
        raise Refused(f"--ipc={units[IPC]}", OWN, "Leave --ipc out.")
    return Confinement({IPC: "private"})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    names = {"pid": "process ids", "ipc": "IPC", "uts": "host name", "mnt": "mounts"}
    return [
        f"it shares the node's {words}"
        for name, words in names.items()
        if seen.namespaces[name] == seen.host_namespaces[name]
    ]


def check(node: Node) -> Iterable[Finding]:
    options = node.info.get("SecurityOptions") or ()
    if "name=rootless" in options:
        yield Finding(
            "rootless", "wrong", "namespaces", "the jobs' dockerd does not run as root",
            "it can place no container in a job's cgroup, nor run it as the job's user",
            "Run the unit that is shipped: systemctl enable --now slurm-hooks-docker.",
        )  # fmt: skip

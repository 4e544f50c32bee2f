# SPDX-License-Identifier: Apache-2.0
"""Process ids, IPC, host name and users: namespaces of the container's own, never the node's or another's.

Stops: seeing and signalling processes of the node, shared memory of others,
joining a foreign container.
Costs: containers of one job do not share memory; use a file in /dev/shm of one container, or a bind mount.
Docker: --pid, --ipc, --uts, --userns, --volumes-from's kin `container:<id>`.
The user namespace is the host's: root inside is refused by identity, so none is needed yet.
"""

from __future__ import annotations

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Seen, Units
from slurm_hooks.settings import Settings

OWNS = ("HostConfig.PidMode", "HostConfig.IpcMode", "HostConfig.UTSMode", "HostConfig.UsernsMode")
FLAGS = {"PidMode": "--pid", "IpcMode": "--ipc", "UTSMode": "--uts", "UsernsMode": "--userns"}


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    for field, flag in FLAGS.items():
        wish = units.get(f"HostConfig.{field}")
        if wish and not (field == "IpcMode" and wish == "private"):
            raise Refused(
                f"{flag}={wish}", "a job's container has its own namespaces, apart from the node's and others'",
                f"Leave {flag} out.",
            )  # fmt: skip
    return Confinement({"HostConfig.IpcMode": "private"})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    names = {"pid": "process ids", "ipc": "IPC", "uts": "host name", "mnt": "mounts"}
    return [
        f"it shares the node's {words}"
        for name, words in names.items()
        if seen.namespaces[name] == seen.host_namespaces[name]
    ]

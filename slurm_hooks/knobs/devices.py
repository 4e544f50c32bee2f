# SPDX-License-Identifier: Apache-2.0
"""No device of the node.

Stops: disks, GPUs and kernel interfaces that the job was not given. On cgroup v2
this knob is the only guard: runc's own device program replaces Slurm's for a container.
Costs: no GPUs in containers yet. Docker: --device, --gpus, --device-cgroup-rule.
"""

from __future__ import annotations

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Units, nothing_to_see
from slurm_hooks.settings import Settings

FLAGS = {
    "HostConfig.Devices": "--device",
    "HostConfig.DeviceRequests": "--gpus",
    "HostConfig.DeviceCgroupRules": "--device-cgroup-rule",
}
OWNS = tuple(FLAGS)

verify = nothing_to_see  # what is not sent dockerd does not give; the attacks of tests/attacks/ try it


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    for unit, flag in FLAGS.items():
        if unit in units:
            raise Refused(
                flag, "a job's container has no device of the node", "Use the device from the job script itself."
            )
    return Confinement()

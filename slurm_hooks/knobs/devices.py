# SPDX-License-Identifier: Apache-2.0
"""No device of the node.

Stops: disks, GPUs and kernel interfaces that the job was not given. On cgroup v2
this knob is the only guard: runc's own device program replaces Slurm's for a container.
Costs: no GPUs in containers yet. Docker: --device, --gpus, --device-cgroup-rule.
"""

from __future__ import annotations

from slurm_hooks.knobs.contract import Row, as_asked, nothing_to_check, nothing_to_see, owned

NONE = "a job's container has no device of the node"
OWN_WAY = "Use the device from the job script itself."
ROWS = (
    Row("HostConfig.Devices", "deny", NONE, todo=OWN_WAY),
    Row("HostConfig.DeviceRequests", "deny", NONE, todo=OWN_WAY),
    Row("HostConfig.DeviceCgroupRules", "deny", NONE, todo=OWN_WAY),
)
OWNS = owned(ROWS)

confine = as_asked
verify = nothing_to_see  # what is not sent dockerd does not give; the attacks of tests/attacks/ try it
check = nothing_to_check

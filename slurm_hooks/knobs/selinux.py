# SPDX-License-Identifier: Apache-2.0
"""SELinux: what dockerd does by itself, and no more yet.

Stops: labels of the client's choice, `disable` first of all.
Costs: nothing.
Docker: --security-opt label=…, disable.
"""

from __future__ import annotations

from slurm_hooks.knobs.contract import Row, as_asked, nothing_to_see, owned

LABELS = "the node chooses the labels of SELinux"
ROWS = (
    Row("HostConfig.SecurityOpt:label", "deny", LABELS),
    Row("HostConfig.SecurityOpt:disable", "deny", LABELS),  # moby's old word for label=disable
)
OWNS = owned(ROWS)

confine = as_asked
verify = nothing_to_see

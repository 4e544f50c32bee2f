# SPDX-License-Identifier: Apache-2.0
"""One thing that is still on the node, and how sure we are that it is the job's."""

from __future__ import annotations

from dataclasses import dataclass

SURE, LIKELY, NOTE = "sure", "likely", "note"  # NOTE: it may stay, and an operator may want to know


@dataclass(frozen=True)
class Left:
    """One thing of a job that is still on the node."""

    kind: str  # process, container, shim, task, network, mount, cgroup; beside the job: escape, fuse, ipc, timer
    what: str  # one line for an operator
    evidence: str
    weight: str = SURE

# SPDX-License-Identifier: Apache-2.0
"""Lab (b): one real node, with systemd, cgroup v2 and AppArmor (or SELinux), under user-mode Linux: a kernel that is a
program, and nearly as fast as the machine."""

from __future__ import annotations

import sys

from tests.labs.machine import Machine, main


class Uml(Machine):
    """With AppArmor."""

    name = "uml"
    controller = "uml1"
    nodes: tuple[str, ...] = ("uml1",)


class Selinux(Uml):
    """the node whose kernel has SELinux, beside the other"""

    security = "selinux"

    def __init__(self, which: str = "") -> None:
        super().__init__(f"selinux{which}")


if __name__ == "__main__":
    sys.exit(
        main("Lab (b): a real Slurm node with systemd and cgroup v2, under user-mode Linux.", Uml, selinux=Selinux)
    )

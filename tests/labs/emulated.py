# SPDX-License-Identifier: Apache-2.0
"""Lab (c): one real node under Debian's stock kernel, on a machine that QEMU emulates.

It has what user-mode Linux lacks: cpuset, io and hugetlb of cgroup v2, nftables for inet, several processors. It is
slow: a `docker run` in a job takes five seconds. So `make test` does without it (`make test-emulated`).
"""

from __future__ import annotations

import subprocess
import sys

from tests.labs.machine import LABS, Machine, main


class Emulated(Machine):
    """The lab: see base.Lab."""

    name = "emulated"
    controller = "emu1"
    nodes: tuple[str, ...] = ("emu1",)
    slow = 10.0

    def why_not(self) -> str | None:
        """As Machine's; QEMU is installed where it is not there."""
        if reason := super().why_not():
            return reason
        installed = subprocess.run([LABS / "host.sh", "emulated"], stdout=sys.stderr)
        return "QEMU could not be installed" if installed.returncode else None


if __name__ == "__main__":
    sys.exit(main("Lab (c): a real Slurm node under a stock kernel, emulated.", Emulated))

# SPDX-License-Identifier: Apache-2.0
"""`make demo-v2`: `make demo` on a newcomer's machine, with cgroup v2 and Debian's Docker (tests/labs/newcomer.py)."""

from __future__ import annotations

import sys

from tests.labs.base import LabMissing
from tests.labs.machine import NodeLost
from tests.labs.newcomer import Newcomer

# As `make demo`, but without the virtual environment: it needs a network, and the demo does not need it.
DEMO = (
    f"cd /src && SLURM_HOOKS_TREE=/dev/vdb SLURM_HOOKS_SLOW={Newcomer.slow} "
    "/usr/bin/python3 -B -m tests.demo --lab compose --down"
)
WITHIN = 360.0  # seconds of a machine that is not slow


def main() -> int:
    """The exit status."""
    machine = Newcomer()
    try:
        machine.up()
        return machine.follow(DEMO, WITHIN)
    except (LabMissing, NodeLost) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        machine.down()


if __name__ == "__main__":
    sys.exit(main())

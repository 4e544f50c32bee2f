# SPDX-License-Identifier: Apache-2.0
"""The nodes of the matrix: Debian's suite, with the releases of Slurm and Docker that are on it, and what one site or
another has set there. One node a release is as Slurm and Docker come; each of the others differs from it in one thing.

What a site has set is a script in cells/: run in the node as root once slurm-hooks is installed, before Slurm starts
anew.
"""

from __future__ import annotations

from dataclasses import dataclass

SUITES = {"bookworm": "22.05", "trixie": "24.11", "sid": "26.05"}  # and its release of Slurm
V1 = ("systemd.unified_cgroup_hierarchy=0",)


@dataclass(frozen=True)
class Cell:
    """A node of the matrix."""

    suite: str
    change: str = ""  # of cells/; "": as it comes
    kernel: tuple[str, ...] = ()  # words more for its command line
    stock: bool = False  # Debian's own kernel, emulated, which is slow; else user-mode Linux

    @property
    def name(self) -> str:
        """Unique; a lab's name is `node-` and this."""
        return f"{SUITES[self.suite]}{self.change and '-'}{self.change}"


# What a site may set → the suites whose release has it.
CHANGES = {
    "alloc": "bookworm trixie sid",
    "no-flags": "bookworm trixie sid",
    "run-in-job": "sid",
    "ignore-systemd": "bookworm trixie sid",
    "no-ram": "trixie",
    "devices": "bookworm trixie sid",
    "extra-controllers": "sid",
    "job-id-paths": "sid",
    "private-tmp": "bookworm trixie sid",
    "namespace-linux": "sid",
    "containerd-store": "trixie sid",
    "ansible": "trixie",
}

CELLS = (
    # First, since they take longest. User-mode Linux has no memory controller of v1, no nftables for ip.
    Cell("bookworm", "v1", V1, stock=True),
    Cell("sid", "networks", stock=True),
    *(Cell(suite) for suite in SUITES),
    *(Cell(suite, change) for change, suites in CHANGES.items() for suite in suites.split()),
)

# SPDX-License-Identifier: Apache-2.0
"""The table of docs/compatibility.md: what is set on a node, release by release, and how the suite went there."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.labs.cells import CELLS, SUITES

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
BEGIN, END = "<!-- nodes: make test-nodes writes this -->", "<!-- end of nodes -->"
SETTINGS = {
    "": "as it comes: cgroup v2, `PrologFlags=Contain`, `ConstrainRAMSpace=yes`, overlay2, runc",
    "v1": "cgroup v1",
    "alloc": "`PrologFlags=Alloc`",
    "no-flags": "no `PrologFlags`",
    "run-in-job": "`PrologFlags=Contain,RunInJob`",
    "ignore-systemd": "`IgnoreSystemd=yes`",
    "no-ram": "`ConstrainRAMSpace=no`",
    "devices": "`ConstrainDevices=yes`",
    "extra-controllers": "`EnableExtraControllers=io,pids`",
    "job-id-paths": "`CgroupJobIdPaths=yes`",
    "private-tmp": "`job_container/tmpfs`, from 25.11 on `namespace/tmpfs`",
    "namespace-linux": "`namespace/linux`, with a pid namespace",
    "networks": "Debian's own kernel 6.12 (lab (c)): restricted networks, cpuset, io",
    "selinux": "SELinux, enforcing",
    "containerd-store": "images in containerd's store (overlayfs)",
    "crun": "`default-runtime` crun",
    "ansible": "as it comes, installed by the role of etc/ansible",
}
# Where a release cannot have a setting, or is not tried with it, and why.
WHY_NOT = {
    ("v1", "24.11"): "lab (a), by `make test`",
    ("v1", "26.05"): "not tried: systemd there has no cgroup v1 any more",
    ("run-in-job", "22.05"): "from 24.05 on",
    ("run-in-job", "24.11"): "not to be set: a fault of Slurm up to 25.11, see below",
    ("extra-controllers", "22.05"): "from 25.05 on",
    ("extra-controllers", "24.11"): "from 25.05 on",
    ("job-id-paths", "22.05"): "from 26.05 on",
    ("job-id-paths", "24.11"): "from 26.05 on",
    ("namespace-linux", "22.05"): "from 25.11 on",
    ("namespace-linux", "24.11"): "from 25.11 on",
    ("networks", "22.05"): "not tried",
    ("networks", "24.11"): "`make test-emulated`",
    ("selinux", "22.05"): "not tried",
    ("selinux", "24.11"): "lab (b), by `make test-selinux`",
    ("selinux", "26.05"): "not tried",
    ("containerd-store", "22.05"): "from Docker 24 on",
    ("crun", "24.11"): "refused, in words: crun 1.21 loses nosuid and nodev of bind mounts",
}


@dataclass(frozen=True)
class Result:
    """How the suite went on one node."""

    suite: str
    change: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    versions: list[str] = field(default_factory=list)  # what its programs say of themselves

    @property
    def words(self) -> str:
        """As the table has it."""
        said = [f"{self.passed} passed"] if self.passed else []
        said += [f"**{self.failed} failed**"] if self.failed else []
        said += [f"{self.skipped} skipped"] if self.skipped else []
        return ", ".join(said) or "**did not run**"


def write(results: Sequence[Result]) -> None:
    """Into the page; what it has of nodes that did not run stays."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(results, old)}{END}{after}")


def table(results: Sequence[Result], old: str = "") -> str:
    """The rows, a setting each; `old` is the table as it was."""
    kept = {row[0]: row[1:] for line in old.splitlines() if len(row := _cells(line)) == 1 + len(SUITES)}
    found = {(result.change, result.suite): result for result in results}
    day = time.strftime("%Y-%m-%d", time.gmtime())
    there = {(cell.change, cell.suite) for cell in CELLS}
    lines = [f"| set on the node | {' | '.join(SUITES.values())} |", "| --- |" + " --- |" * len(SUITES)]
    row = []
    for number, suite in enumerate(SUITES):
        result = found.get(("", suite))
        row.append(_versions(result.versions if result else ()) or kept.get("what runs there", ["?"] * 3)[number])
    lines.append(f"| what runs there | {' | '.join(row)} |")
    for change, text in SETTINGS.items():
        row = []
        for number, (suite, release) in enumerate(SUITES.items()):
            if result := found.get((change, suite)):
                row.append(f"{result.words}, {day}")
            elif (change, suite) in there:
                row.append(kept.get(text, ["not run yet"] * 3)[number])
            else:
                row.append(WHY_NOT.get((change, release), "not tried"))
        lines.append(f"| {text} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _cells(line: str) -> list[str]:
    return [part.strip() for part in line.strip("| \n").split(" | ")] if line.startswith("| ") else []


def _versions(lines: Sequence[str]) -> str:
    """slurmd's, docker's, runc's and systemd's, in few words; "" where the node said nothing."""
    text = "\n".join(lines)
    wanted = {
        "Slurm": r"slurm-wlm (\S+)",
        "Docker": r"Docker version ([^,+]+)",
        "runc": r"runc version (\S+?)(?:\+|\s|$)",
        "systemd": r"systemd (\d+)",
    }
    return ", ".join(f"{name} {match[1]}" for name, how in wanted.items() if (match := re.search(how, text)))

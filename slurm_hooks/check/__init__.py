# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check`: is this node set up safely? As an operator would look before trusting it.

facts.py reads the node once; each knob says what takes its own effect away, and the modules here judge the rest: what
belongs to no knob. Each finding says what, why, and the line or command that mends it. Changes nothing; `--live`
alone starts a container, and removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from slurm_hooks import config
from slurm_hooks.check import access, dockerd, files, holes, kernel, site, slurm, units
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs import KNOBS
from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.needs import WRITTEN

LEVELS = ("wrong", "weak", "note")
JUDGES = (dockerd, units, slurm, kernel, files, access, site)


def main(*, as_json: bool, strict: bool = False, live: bool = False, image: str = "") -> int:
    """Print the findings, the worst first; 1 where anything is wrong (strict: or weak), else 0.

    Raises HooksError: it is not root who asks.
    """
    if os.geteuid() != 0:
        raise HooksError("check", "most of what it looks at only root may see", "Run it as root.")
    found = sorted(findings(live=live, image=image), key=lambda finding: LEVELS.index(finding.level))
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            print(f"{finding.level}: {finding.what} [{finding.name}]\n    {finding.why}\n    {finding.mend}")
        counts = [f"{number} {level}" for level in LEVELS if (number := _count(found, level))]
        print(f"slurm-hooks check: {', '.join(counts) or 'nothing found'}")
        if any(finding.name in WRITTEN for finding in found):
            print("slurm-hooks install shows what of it are lines of slurm.conf, cgroup.conf and dockerd's file")
    return 1 if _count(found, "wrong") or (strict and _count(found, "weak")) else 0


def _count(found: list[Finding], level: str) -> int:
    return sum(finding.level == level for finding in found)


def findings(*, live: bool = False, image: str = "") -> Iterator[Finding]:
    """Read the node and judge it."""
    from slurm_hooks.check import facts  # and with it psutil

    try:
        settings = config.load(keep=False)
    except HooksError as error:
        yield Finding(
            "configuration", "wrong", "site", str(error), "no container starts, and nothing else was looked at",
            "Run: slurm-hooks config, until it is content.",
        )  # fmt: skip
        return
    node = facts.read(settings)
    yield from judged(node)
    if live and node.info:
        from slurm_hooks.check import live as self_test

        yield from self_test.check(node, image)


def judged(node: Node) -> Iterable[Finding]:
    """All that the snapshot says: the knobs in the order of the policy, then what is no knob's. Pure."""
    for knob in KNOBS.values():
        yield from knob.check(node)
    for judge in JUDGES:
        yield from judge.check(node)
    yield from holes.check(node)

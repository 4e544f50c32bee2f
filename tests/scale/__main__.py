# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.scale`: jobs with a container each, at once and in a row, on one node of lab (a).

What is measured is ours alone: the Prolog's and the Epilog's time as slurmd sees it, between two scripts that run
before and after them; what reaches slurmctld, by sdiag's counts; how much is left in the run directory and the log.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.slurm import EVENTS, Cluster
from tests.labs import lab_named

AT_ONCE = (1, 10, 100)
FLAT = 1.1  # the last hundred's median against the first's
BUILD = Path(__file__).parents[2] / "build"
CLOCK = "/run/lab-clock"
SCRIPT = "docker run --rm img true"
# What Slurm's own daemons say for a job, healthy or not; and ourselves, who ask.
SLURMS = re.compile(
    r"REQUEST_(SUBMIT_BATCH_JOB|COMPLETE_BATCH_SCRIPT|COMPLETE_PROLOG|STEP_COMPLETE|STATS_INFO|NODE_INFO_SINGLE)"
    r"|MESSAGE_(EPILOG_COMPLETE|NODE_REGISTRATION_STATUS)"
)


@contextmanager
def wide(cluster: Cluster) -> Iterator[None]:
    """A node that takes a hundred small jobs at once, with a clock before and after our hooks."""
    node, controller = cluster.node, cluster.lab.controller
    hosts = (controller, *cluster.lab.nodes)
    # In reverse order of their names (slurm.conf(5), Prolog).
    moments = [(hook, when, name) for hook in ("prolog", "epilog") for when, name in (("60", "begin"), ("40", "end"))]
    for host in hosts:
        cluster.must(host, "cp /etc/slurm/nodes.conf /run/kept-nodes.conf")
        cluster.must(host, r"sed -i 's/CPUs=4 RealMemory=4000/CPUs=128 RealMemory=64000/' /etc/slurm/nodes.conf")
    for hook, when, name in moments:
        script = f"/etc/slurm/{hook}.d/{when}-clock"
        line = f'#!/bin/sh\necho "$SLURM_JOB_ID {hook} {name} $(date +%s.%N)" >>{CLOCK}\n'
        cluster.must(node, f"cat >{script}; chmod 755 {script}; : >{CLOCK}", stdin=line)
    try:
        _anew(cluster)
        yield
    finally:
        for hook, when, _ in moments:
            cluster.must(node, f"rm -f /etc/slurm/{hook}.d/{when}-clock {CLOCK}")
        for host in hosts:
            cluster.must(host, "cp /run/kept-nodes.conf /etc/slurm/nodes.conf")
        _anew(cluster)


def _anew(cluster: Cluster) -> None:
    cluster.service(cluster.lab.controller, "restart", "slurmctld")
    for node in cluster.lab.nodes:
        cluster.service(node, "restart", "slurmd")
    cluster.wait_idle(cluster.node)


def jobs(cluster: Cluster, number: int, at_once: int, within: float) -> list[int]:
    """Run so many, so many at once; their numbers, in the order in which they ended."""
    node = cluster.node
    before = int(cluster.must(node, f"wc -l <{CLOCK}"))
    options = f"--array=1-{number}%{at_once} -n1 --mem=64 -w {node} -o /dev/null"
    cluster.must(cluster.lab.controller, f"sbatch --parsable {options} --wrap '{SCRIPT}'", user="ann")
    # Not squeue: the controller is asked nothing meanwhile.
    wanted = f"[ $(tail -n +{before + 1} {CLOCK} | grep -c 'epilog end') -ge {number} ]"
    cluster.wait(node, wanted, f"{number} epilogs", within=within)
    lines = cluster.must(node, f"tail -n +{before + 1} {CLOCK}").splitlines()
    return [int(line.split()[0]) for line in lines if " epilog end " in line]


def taken(cluster: Cluster) -> dict[tuple[int, str], float]:
    """(job, hook) → seconds of ours."""
    found: dict[tuple[int, str], float] = {}
    for line in cluster.must(cluster.node, f"cat {CLOCK}").splitlines():
        job, hook, name, clock = line.split()
        key = int(job), hook
        found[key] = float(clock) - (found[key] if name == "end" else 0)
    return found


def asked(cluster: Cluster) -> dict[str, int]:
    """What slurmctld was asked since its counts were reset, by kind."""
    said = cluster.must(cluster.lab.controller, "sdiag")
    part = said.partition("by message type")[2].partition("by user")[0]
    return {name: int(count) for name, count in re.findall(r"(\w+)\s*\(\s*\d+\) count:(\d+)", part)}


# The daemons of a node, by their command lines.
DAEMONS = {"broker": "slurm-hooks broker$", "dockerd": "dockerd --config", "containerd": "containerd$"}


def resident(cluster: Cluster) -> dict[str, int]:
    """Megabytes of memory that each of the node's daemons has."""
    said = cluster.must(cluster.node, "ps -eo rss=,args=").splitlines()
    rss = {line.strip().partition(" ")[2]: int(line.split()[0]) for line in said}
    return {
        name: max((kilobytes for line, kilobytes in rss.items() if re.search(pattern, line)), default=0) // 1024
        for name, pattern in DAEMONS.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """0: within the bars."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.scale", description=__doc__, epilog="example: %(prog)s --row 200"
    )
    parser.add_argument("--row", type=int, default=1000, help="jobs one after the other, four at once (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    wish = parser.parse_args(arguments)
    if wish.row < 200:
        parser.error("--row: below 200 there are no two hundreds to compare")
    lab = lab_named("compose")
    lab.up()
    cluster = Cluster(lab)
    cluster.cancel_all()
    cluster.wait_idle(cluster.node)
    figures: dict[str, Any] = {}
    with wide(cluster):
        jobs(cluster, 4, 4, 120)  # so that what is made once is made
        for number in AT_ONCE:
            ran = jobs(cluster, number, number, 600)
            figures[f"{number} at once"] = _medians(taken(cluster), ran)
            _say(wish.json, f"{number:4} at once: {figures[f'{number} at once']}")
        cluster.must(cluster.lab.controller, "sdiag --reset")
        logged = int(cluster.must(cluster.node, f"stat -c %s {EVENTS}"))
        row = jobs(cluster, wish.row, 4, 3 * wish.row)
        counts = asked(cluster)
        times = taken(cluster)
        hundreds = [_medians(times, row[at : at + 100]) for at in range(0, len(row), 100)]
        for at, medians in enumerate(hundreds):
            _say(wish.json, f"{100 * at + 1:4} to {100 * at + 100}: {medians}")
        memory = resident(cluster)
        files = int(cluster.must(cluster.node, "find /run/slurm-hooks -type f | wc -l"))
        logged = int(cluster.must(cluster.node, f"stat -c %s {EVENTS}")) - logged
    flat = {hook: round(hundreds[-1][hook] / hundreds[0][hook], 2) for hook in hundreds[0]}
    strange = {name: count for name, count in counts.items() if not SLURMS.fullmatch(name)}
    figures |= {"hundreds": hundreds, "last / first": flat, "asked of slurmctld": counts, "not Slurm's own": strange}
    figures |= {"files in the run directory": files, "bytes of log for a job": logged // wish.row, "megabytes": memory}
    BUILD.mkdir(exist_ok=True)
    (BUILD / "scale.json").write_text(json.dumps(figures, indent=1) + "\n")
    if wish.json:
        print(json.dumps(figures, indent=1))
    _say(
        wish.json, f"files in the run directory: {files}; a job's log: {logged // wish.row} bytes; megabytes: {memory}"
    )
    good = not strange and all(ratio <= FLAT for ratio in flat.values())
    _say(
        wish.json,
        f"{'✓' if good else '✗'} last / first hundred: {flat}; asked of slurmctld beside Slurm's own: {strange}",
    )
    return 0 if good else 1


def _medians(times: Mapping[tuple[int, str], float], ran: Sequence[int]) -> dict[str, float]:
    """Seconds of each hook."""
    return {hook: round(statistics.median(times[job, hook] for job in ran), 4) for hook in ("prolog", "epilog")}


def _say(quiet: bool, text: str) -> None:  # noqa: FBT001
    if not quiet:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

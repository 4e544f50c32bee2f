# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.compare`: the table of docs/security.md, from a node of a lab as it is now.

Left: root's `docker run` on the jobs' dockerd, whose no-new-privileges is taken back for it, so that it is Docker's
own default. That dockerd has no bridge: an ordinary one gives an eth0 too. Right: the same in a job of ann's.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.attacks.calls import ASK, BRING, every_call
from tests.cluster.slurm import Cluster
from tests.compare.facts import PROBE, rows, table
from tests.labs import lab_named
from tests.labs.base import LabMissing

QUOTED = f"'{PROBE.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'"


def _probed(run: str) -> str:
    """A script: what a shell says in a container, and what the probe of the system calls is answered, in Python."""
    return f"""set -e; {run} --rm img sh -c {QUOTED}
echo '== calls'; {run} --rm -i -v $PWD/py:/py:ro -e PYTHONHOME=/py img {ASK}"""


def compared(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """The facts of both, and of the node beside them."""
    cluster.must(cluster.node, "cat > calls", user="ann", stdin=every_call())
    cluster.must(cluster.node, "bash -s", user="ann", stdin=BRING)
    docker = "docker -H unix:///run/slurm-hooks-docker/docker.sock run --security-opt no-new-privileges=false"
    plain = cluster.sh(cluster.node, f"cd /home/ann; {_probed(docker)}", timeout=240)
    ours = cluster.srun(_probed("docker run"), options="--mem=300", timeout=240)
    node = cluster.must(cluster.node, f"sh -c {QUOTED}; rm -rf /home/ann/py /home/ann/calls")
    for done in (plain, ours):
        assert done.status == 0, done
    return rows(plain.out, ours.out, node)


def main() -> int:
    """Compare, print; the exit status."""
    top = argparse.ArgumentParser(
        prog="python3 -m tests.compare",
        description="What plain docker run gives a program and what a job's gets, read from the kernel inside.",
        epilog="example: python3 -m tests.compare --lab uml --json",
    )
    top.add_argument("--lab", default="compose", choices=("compose", "uml"), help="where; default: compose")
    top.add_argument("--json", action="store_true", help="for programs")
    wish = top.parse_args()
    lab = lab_named(wish.lab)
    try:
        lab.up()
    except LabMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    found = compared(Cluster(lab))
    print(json.dumps({name: dict(zip(("plain", "ours"), both, strict=True)) for name, both in found.items()}, indent=1)
          if wish.json else table(found))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())

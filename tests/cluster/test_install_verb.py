# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks install` on a node whose Slurm lacks our lines: shown, written once, and then Slurm runs by them.

The site's lines are odd, so that Slurm itself says whether they are read as it reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from slurm_hooks.needs import MANY, WRITTEN
from tests.cluster.slurm import Cluster
from tests.cluster.test_check import said

COPY = "/root/site"
FILES = "/etc/slurm/slurm.conf /etc/slurm/cgroup.conf /etc/docker/slurm-jobs.json"
STRIP = f"""set -e
rm -rf {COPY}; mkdir {COPY}; cp -p {FILES} {COPY}; cd {COPY}
sed -i '/slurm-hooks/d; /^Task/d; /^PrologFlags/d' slurm.conf
cat >> slurm.conf <<'EOF'
pROLOGfLAGS = "DeferBatch" # of the site \\
taskplugin=none
Prolog=/bin/tr\\
ue
DebugFlags=NO_CONF_HASH \\
EOF
sed -i '/^ConstrainRAMSpace/d' cgroup.conf
sed -i '/live-restore/d' slurm-jobs.json
mkdir stripped; cp -p slurm.conf cgroup.conf slurm-jobs.json stripped"""
# In one interpreter: to start it is most of what a run takes on a small node.
RUNS = f"""/usr/bin/python3 -I - <<'EOF'
import contextlib, io, json, pathlib, sys
sys.path.insert(0, "/usr/lib/slurm-hooks")
from slurm_hooks.cli import main
for how in ("--check", "--apply", "--apply"):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(["install", "--slurm-conf", "{COPY}/slurm.conf", "--daemon-json", "{COPY}/slurm-jobs.json", how])
    texts = {{path.name: path.read_text() for path in pathlib.Path("{COPY}").iterdir() if path.is_file()}}
    print(json.dumps([status, out.getvalue(), texts]))
EOF"""


class Run(NamedTuple):
    """`slurm-hooks install`, and the files as they are then."""

    status: int
    out: str
    texts: dict[str, str]


@pytest.fixture(scope="module")
def runs(cluster: Cluster) -> Iterator[list[Run]]:
    """A look, what it shows written, and written again: copies of a node's files, without what is ours."""
    if cluster.release < MANY:
        pytest.skip("this Slurm runs one Prolog, and the site's own stays: tests/unit/test_install_plan.py")
    cluster.must(cluster.node, STRIP)
    yield [Run(*json.loads(line)) for line in cluster.must(cluster.node, RUNS).splitlines()]
    cluster.must(cluster.node, f"rm -r {COPY}")


def test_what_lacks_is_shown_and_written_once(cluster: Cluster, runs: list[Run]) -> None:
    shown, written, again = runs
    for line in (
        "+Prolog=/etc/slurm/prolog.d/50-slurm-hooks", "+taskplugin=task/cgroup", "+ConstrainRAMSpace=yes",
        '-pROLOGfLAGS = "DeferBatch" # of the site \\', '+pROLOGfLAGS = "DeferBatch,Contain" # of the site \\',
        '+  "live-restore": true', "slurm-hooks install: 3 to write (--apply)",
    ):  # fmt: skip
        assert line in shown.out.splitlines(), shown.out
    docker = ".".join(map(str, cluster.docker_release))
    assert f"docker command: /usr/bin/docker is {docker}: it will do" in shown.out
    assert (shown.status, written.status, again.status) == (1, 0, 0)
    assert len(shown.texts) == 3 and again.texts == written.texts and len(written.texts) == 6
    # The backups are what was there: put back, each file is as before.
    cluster.must(cluster.node, f"cd {COPY}; for file in stripped/*; do cmp $file $(basename $file).20*Z; done")


def test_slurm_runs_by_what_was_written_and_check_finds_nothing_of_it(
    cluster: Cluster, runs: list[Run], node: str
) -> None:
    if cluster.lab.controller != node:
        pytest.skip("slurm.conf is another host's too")
    keep = f"mkdir {COPY}/own; cp -p {FILES} {COPY}/own"
    try:
        cluster.must(node, f"{keep}; cd {COPY}; cp -p slurm.conf cgroup.conf /etc/slurm/; scontrol reconfigure")
        # The Prolog has made the user's socket, the TaskProlog has named it; a container would say no more.
        assert cluster.srun("test -S ${DOCKER_HOST#unix://} && echo it is there").out.endswith("it is there\n")
        assert {finding["name"] for finding in said(cluster, node)} & WRITTEN == set()
        shown = cluster.must(node, "scontrol show config")
        prologs = re.findall(r"^Prolog\[\d\] += (.*)$", shown, re.MULTILINE)
        assert prologs == ["/bin/true", "/etc/slurm/prolog.d/50-slurm-hooks"]
        assert re.search("^PrologFlags += Alloc,Contain,DeferBatch$", shown, re.MULTILINE), shown
    finally:
        cluster.must(node, f"cd {COPY}/own && cp -p slurm.conf cgroup.conf /etc/slurm/ && scontrol reconfigure")

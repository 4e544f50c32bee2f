# SPDX-License-Identifier: Apache-2.0
"""The rare word to Slurm, said for real: through scontrol, and through pyslurm where a node has it."""

from __future__ import annotations

import json

import pytest

from tests.cluster.slurm import Cluster

SAY = """/usr/bin/python3 -I - <<'EOF'
import json, sys
sys.path.insert(0, "/usr/lib/slurm-hooks")
from slurm_hooks import controller
slurm = controller.{way}()
slurm.drain("{node}", "slurm-hooks: a test's reason, with 'quotes'")
print(json.dumps([slurm.is_alive({job}), slurm.is_alive(999999)]))
EOF"""


@pytest.mark.parametrize("way", ["Scontrol", "Pyslurm"])
def test_it_drains_with_a_reason_and_knows_which_jobs_live(cluster: Cluster, node: str, way: str) -> None:
    if way == "Pyslurm" and cluster.sh(node, "/usr/bin/python3 -I -c 'import pyslurm'").status != 0:
        pytest.skip("pyslurm is not on the node: its half of controller.py is not run here (docs/compatibility.md)")
    job = cluster.sbatch("echo started; sleep 600")
    job.wait_for_output("started")
    said = cluster.must(node, SAY.format(way=way, node=node, job=job.id))
    assert json.loads(said) == [True, False]
    assert cluster.drain_reason(node).startswith("slurm-hooks: a test's reason, with 'quotes'")
    cluster.must(cluster.lab.controller, f"scontrol update nodename={node} state=resume")
    job.cancel()
    job.wait()


def test_an_operators_epilog_does_not_end_a_job_that_runs(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d img sleep 600; echo started; sleep 600")
    job.wait_for_output("started")
    done = cluster.sh(node, f"slurm-hooks epilog {job.id}")
    assert done.status == 1
    assert f"job {job.id}: Slurm says that it is not over" in done.err
    assert "end every process in" in cluster.must(node, f"slurm-hooks epilog --dry-run {job.id}")
    assert len(cluster.docker(node, "ps -q --filter label=slurm-hooks.job").out.split()) == 1
    job.cancel()
    job.wait()

# SPDX-License-Identifier: Apache-2.0
"""An exec that dockerd made otherwise than it was asked to: ended and logged, and no byte of its streams is joined.

What makes the difference is a gate between broker and dockerd that rewrites our own request.
"""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster
from tests.faults.gate import gate

pytestmark = pytest.mark.anywhere

# What the broker asks for, and what dockerd is told instead; then what the read-back must have seen.
OTHERWISE = {
    "as root": (('"User": "1001:1001"', '"User": "0:0"'), "identity"),
    "with all privileges": (('"Privileged": false', '"Privileged": true'), "capabilities"),
}
SCRIPT = """rm -f typed; docker run -d --name aa -v $HOME:/w img sleep 600
echo hello | docker exec -i aa sh -c 'cat > /w/typed; sleep 4321'; echo attached $?
docker exec aa sh -c 'while :; do echo secret; sleep 0.1; done'; echo reading $?
docker exec -d aa sleep 4321; echo detached $?
docker exec aa true; docker inspect -f 'aa is {{.State.Status}}' aa
stat -c 'typed has %s' typed 2>&1; rm -f typed; echo over; sleep 600"""


@pytest.mark.parametrize("how", OTHERWISE)
def test_an_exec_that_is_not_confined_as_asked_is_ended(cluster: Cluster, node: str, how: str) -> None:
    rewrite, knob = OTHERWISE[how]
    with gate(cluster, "rewritten", "/exec", rewrite):
        job = cluster.sbatch(SCRIPT)
        job.wait_for_output("over")
        said = job.output
        differs = job.events("differs")
        left = cluster.sh(node, "pgrep -fx 'sleep 4321'").out
        job.cancel()
        job.wait()
    assert left == ""
    assert len(differs) >= 3, differs
    assert all(any(knob in what for what in event["what"]) for event in differs), differs
    assert "secret" not in said and "typed has 6" not in said, said
    assert "this exec was ended: it was not confined as asked" in said
    assert "aa is running" in said, "the container itself is as it was asked"

# SPDX-License-Identifier: Apache-2.0
"""`srun true` with our hooks against none, and against hooks that are /bin/true: node by node in turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.figures import Figure
from tests.bench.hooks import Step, figure, timed
from tests.cluster.slurm import Cluster

CONF = "/etc/slurm/slurm-hooks.conf"
# srun returns before the Epilog is through: what is timed next must not pay for it.
SETTLED: Step = {"argv": ["sh", "-c", 'until [ -z "$(squeue -h)" ]; do sleep 0.05; done; sleep 0.1']}
HOOKS = {
    "itself, on the other node (control)": None,
    "no hooks": "",
    "hooks of /bin/true": "Prolog=/bin/true\nEpilog=/bin/true\nTaskProlog=/bin/true\n",
}


@contextmanager
def hooks_of(cluster: Cluster, node: str, lines: str | None) -> Iterator[None]:
    """One node's slurmd with other hooks; None leaves it as it is. Undone at the end, whatever happens."""
    if lines is None:
        yield
        return
    try:
        cluster.must(node, f"cp -n {CONF} {CONF}.bench; cat > {CONF}", stdin=lines)
        cluster.service(node, "restart", "slurmd")
        cluster.wait_idle(node)
        yield
    finally:
        cluster.must(node, f"mv {CONF}.bench {CONF}")
        cluster.service(node, "restart", "slurmd")
        cluster.wait_idle(node)


def srun(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """The wall time of srun. The first node has our hooks, the second one others, on the same machine."""
    first, second = cluster.lab.nodes[:2]
    for name, lines in HOOKS.items():
        with hooks_of(cluster, second, lines):
            steps: list[Step] = []
            for node in (first, second):
                steps += [{"name": node, "argv": ["srun", "--quiet", "-w", node, "true"]}, SETTLED]
            times = timed(cluster, cluster.lab.controller, rounds, *steps, user="ann")
        yield figure(f"srun true / {name}", times, first, second)

# SPDX-License-Identifier: Apache-2.0
"""A node with two GPUs and an FPGA, for a while: Slurm is told that character devices of the node are such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.slurm import Cluster

# Not in the order of their numbers, as GPUs need not be. Whoever may open a node of fuse and of autofs opens them.
FIRST, SECOND, FPGA = "/dev/lab-gpu7", "/dev/lab-gpu3", "/dev/lab-fpga0"
NODES = {FIRST: "10 229", SECOND: "10 235", FPGA: "10 234"}
NUMBERS = {path: f"c {number.replace(' ', ':')}" for path, number in NODES.items()}
MAKE = "; ".join(f"rm -f {path}; mknod -m 666 {path} c {number}" for path, number in NODES.items())
GRES = f"Name=gpu File={FIRST}\nName=gpu File={SECOND}\nName=fpga File={FPGA}\n"
CONFIGURE = """cd /etc/slurm; mkdir -p before; cp nodes.conf cgroup.conf before
sed -i 's/RealMemory=[0-9]*/& Gres=gpu:2,fpga:1/; 1i GresTypes=gpu,fpga' nodes.conf
sed -i '/ConstrainDevices/d' cgroup.conf; echo ConstrainDevices=yes >>cgroup.conf; cat >gres.conf"""
BACK = "cd /etc/slurm; mv before/* .; rmdir before; rm gres.conf"


@contextmanager
def with_gpus(cluster: Cluster) -> Iterator[None]:
    """All is put back. Skips where the kernel has no such devices."""
    hosts = tuple(dict.fromkeys((cluster.lab.controller, *cluster.lab.nodes)))
    for number in NODES.values():
        if cluster.sh(cluster.node, f"grep -qw {number.split()[1]} /proc/misc").status:
            pytest.skip(f"the kernel of this lab has no device {number}")

    # slurmctld of 22.05 takes no new GRES by a reconfigure.
    reread = "systemctl restart slurmctld slurmd" if cluster.release == (22, 5) else "scontrol reconfigure"

    def reconfigured() -> None:
        cluster.must(cluster.lab.controller, reread)
        cluster.wait_idle(cluster.node)

    cluster.cancel_all()
    cluster.wait_idle(cluster.node)
    for host in cluster.lab.nodes:
        cluster.must(host, MAKE)
    for host in hosts:
        cluster.must(host, CONFIGURE, stdin=GRES)
    try:
        reconfigured()
        yield
    finally:
        for host in hosts:
            cluster.must(host, BACK)
        reconfigured()
        for host in cluster.lab.nodes:
            cluster.must(host, f"rm -f {' '.join(NODES)}")

# SPDX-License-Identifier: Apache-2.0
"""A node whose jobs' dockerd has userns-remap, for a while; all is put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.slurm import Cluster

JSON, SOCKET = "/etc/docker/slurm-jobs.json", "unix:///run/slurm-hooks-docker/docker.sock"
BEFORE = "/run/slurm-hooks-test.json"
DROP_IN = "/run/systemd/system/slurm-hooks-broker.service.d"
REMAP = '[container]\nroot = "remap"'
FORGET = (  # the user that dockerd makes for "default", with its ranges
    "userdel dockremap 2>/dev/null; groupdel dockremap 2>/dev/null; sed -i /^dockremap:/d /etc/subuid /etc/subgid"
)


@contextmanager
def remapped(cluster: Cluster) -> Iterator[int]:
    """The remapped root's uid. dockerd keeps images of a remap apart, so the test image is made anew."""
    node = cluster.node
    cluster.wait_idle(node)
    before = cluster.must(node, f"cat {JSON}")
    root = ""
    cluster.must(
        node, f"cp {JSON} {BEFORE}; cat > {JSON}", stdin=json.dumps({**json.loads(before), "userns-remap": "default"})
    )
    try:
        _restart(cluster)
        _allow(
            cluster, f"mkdir -p {DROP_IN}; printf '[Service]\\nRestrictNamespaces=mnt user\\n' > {DROP_IN}/root.conf"
        )
        cluster.must(node, f"DOCKER_HOST={SOCKET} /src/tests/labs/image.sh")
        root = cluster.docker(node, "info --format '{{.DockerRootDir}}'").out.strip()
        with cluster.site(node, REMAP):
            yield int(root.rpartition("/")[2].partition(".")[0])
    finally:
        cluster.must(node, f"mv {BEFORE} {JSON}")
        _restart(cluster)
        _allow(cluster, f"rm -r {DROP_IN}")
        assert root.rpartition("/")[2].replace(".", "").isdecimal() or not root, root
        cluster.sh(node, f"{FORGET}; [ -z '{root}' ] || rm -rf '{root}'")


def _allow(cluster: Cluster, change: str) -> None:
    """What the broker's unit may, where systemd has one."""
    if cluster.sh(cluster.node, "test -d /run/systemd/system").status == 0:
        cluster.must(cluster.node, f"{change}; systemctl daemon-reload")
        cluster.service(cluster.node, "restart", "broker")


def _restart(cluster: Cluster) -> None:
    cluster.service(cluster.node, "restart", "dockerd")
    cluster.wait(cluster.node, f"docker -H {SOCKET} version >/dev/null 2>&1", "dockerd")

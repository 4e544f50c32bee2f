# SPDX-License-Identifier: Apache-2.0
"""A node whose jobs' dockerd has userns-remap, for a while; all is put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.slurm import Cluster

JSON, SOCKET = "/etc/docker/slurm-jobs.json", "unix:///run/slurm-hooks-docker/docker.sock"
BEFORE = "/run/slurm-hooks-test.json"
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
        cluster.must(node, f"DOCKER_HOST={SOCKET} /src/tests/labs/image.sh")
        root = cluster.docker(node, "info --format '{{.DockerRootDir}}'").out.strip()
        with cluster.site(node, REMAP):
            yield int(root.rpartition("/")[2].partition(".")[0])
    finally:
        cluster.must(node, f"mv {BEFORE} {JSON}")
        _restart(cluster)
        assert root.rpartition("/")[2].replace(".", "").isdecimal() or not root, root
        cluster.sh(node, f"{FORGET}; [ -z '{root}' ] || rm -rf '{root}'")


def _restart(cluster: Cluster) -> None:
    cluster.service(cluster.node, "restart", "dockerd")
    cluster.wait(cluster.node, f"docker -H {SOCKET} version >/dev/null 2>&1", "dockerd")

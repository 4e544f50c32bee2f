# SPDX-License-Identifier: Apache-2.0
"""A directory of the node that is mounted by NFS from the node itself, with root_squash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.slurm import Cluster

ON_DISK, PLACE = "/srv/lab-nfs", "/mnt/lab-nfs"
# Nothing is kept of what the server said: it is asked each time, so it is missed at once.
MOUNT = f"mount -t nfs4 -o hard,actimeo=0,lookupcache=none 127.0.0.1:/ {PLACE}"
START = "rpc.nfsd --no-nfs-version 3 --host 127.0.0.1 --grace-time 10 --lease-time 10 2"
STOP = "rpc.nfsd 0"
SERVE = f"""set -e
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p {ON_DISK} {PLACE}
exportfs -o rw,root_squash,sync,no_subtree_check,fsid=0 127.0.0.1:{ON_DISK}
{START}
pgrep -x rpc.mountd >/dev/null || rpc.mountd --no-nfs-version 3
{MOUNT}"""
END = f"{START}; umount {PLACE}; {STOP}; pkill -x rpc.mountd; exportfs -ua; rm -rf {ON_DISK}; rmdir {PLACE}"


@contextmanager
def mounted(cluster: Cluster) -> Iterator[str]:
    """Where it is. Skips on a node whose kernel has no NFS server."""
    if cluster.sh(cluster.node, "modprobe nfsd && modprobe nfsv4").status != 0:
        pytest.skip("the node's kernel has no NFS server")
    if cluster.sh(cluster.node, "dpkg-query -W -f '${Version}' nfs-kernel-server | grep -q ':2[.]'").status != 0:
        pytest.skip("with nfs-utils 3 a mount from the node itself hangs for good (sid, Linux 7.2)")
    cluster.must(cluster.node, SERVE)
    try:
        yield PLACE
    finally:
        cluster.sh(cluster.node, END)

# SPDX-License-Identifier: Apache-2.0
"""Directories that are mounted when somebody looks into them, as many sites have homes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster

REAL, PLACE = "/var/lib/lab-homes", "/srv/lab-auto"
# systemd may unmount the automount with the mount, and calls it failed then; a failed unit keeps its name.
MAKE = f"""set -e
systemctl reset-failed 'srv-lab*'
mkdir -p {REAL}/project {PLACE}
chown ann:ann {REAL}/project
systemd-mount --automount=yes --type=none --options=bind --fsck=no {REAL}/project {PLACE}"""
END = f"systemd-umount {PLACE}; rm -r {REAL}; rmdir {PLACE}"


@pytest.fixture
def place(cluster: Cluster, node: str) -> Iterator[str]:
    """A directory of ann's that nobody has looked into yet."""
    if cluster.sh(node, "[ -d /run/systemd/system ] && modprobe autofs4").status != 0:
        pytest.skip("no systemd on the node, or no autofs in its kernel")
    cluster.must(node, MAKE)
    yield PLACE
    cluster.must(node, END)


@pytest.mark.parametrize("below", ["", "/inner"])
def test_a_bind_mounts_what_is_not_mounted_yet(cluster: Cluster, node: str, place: str, below: str) -> None:
    cluster.must(
        node, f"mkdir -p {REAL}/project/inner; echo found | tee {REAL}/project/file >{REAL}/project/inner/file"
    )
    seen = cluster.must(node, f"awk '$5 == \"{place}\" {{print $9}}' /proc/self/mountinfo")
    assert seen.split() == ["autofs"], "somebody has looked into it"
    done = cluster.srun(f"docker run --rm -v {place}{below}:/d img cat /d/file")
    assert done.out.endswith("\nfound\n"), done


def test_what_is_written_there_is_in_the_mount(cluster: Cluster, node: str, place: str) -> None:
    done = cluster.srun(f"docker run --rm -v {place}:/d img sh -c 'echo mine >/d/file'")
    assert cluster.must(node, f"cat {REAL}/project/file; stat -c %U {REAL}/project/file") == "mine\nann\n", done

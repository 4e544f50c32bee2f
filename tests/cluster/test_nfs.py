# SPDX-License-Identifier: Apache-2.0
"""Mounts of NFS, whose server takes root for nobody and may be gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import nfs
from tests.cluster.slurm import Cluster


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[str]:
    """An export with a directory of ann's and one of bob's."""
    with nfs.mounted(cluster) as found:
        cluster.must(
            cluster.node,
            f"cd {nfs.ON_DISK}; mkdir -m 700 ann bob; mkdir bob/inner; chown ann:ann ann; chown -R bob:bob bob",
        )
        yield found


def test_root_of_the_node_is_nobody_there(cluster: Cluster, node: str, place: str) -> None:
    """Without this the others show nothing."""
    said = cluster.sh(node, f"ls {place}/ann; touch {place}/x")
    assert said.status and said.err.count("Permission denied") == 2, said


def test_a_directory_is_mounted_as_the_user_and_files_are_his(cluster: Cluster, node: str, place: str) -> None:
    done = cluster.srun(
        f"docker run --rm -v {place}/ann:/d img sh -c 'echo mine >/d/file'; stat -c %U {place}/ann/file"
    )
    read = cluster.srun(f"docker run --rm -v {place}/ann/file:/f:ro img cat /f; rm {place}/ann/file")
    assert done.out.endswith("\nann\n") and read.out.endswith("\nmine\n"), (done, read)


def test_what_is_anothers_stays_so(cluster: Cluster, node: str, place: str) -> None:
    refused = cluster.srun(f"docker run --rm -v {place}/bob/inner:/d img true")
    whole = cluster.srun(f"docker run --rm -v {place}/bob:/d img ls /d")
    assert f"-v {place}/bob/inner: Permission denied." in refused.err, refused
    # The server may refuse to say what it is, or what is in it.
    assert whole.status in (1, 125) and "inner" not in whole.out.split(), whole


def test_a_server_that_is_gone_costs_that_launch_its_deadline(cluster: Cluster, node: str, place: str) -> None:
    script = f"docker run --rm -v {place}/ann:/d img true; docker run --rm img echo goes on"
    cluster.must(node, nfs.STOP)
    try:
        job = cluster.sbatch(script, options="--mem=200")
        cluster.wait(node, "pgrep -f '[f]rom slurm_hooks.broker import staging' >/dev/null", "the launch's staging")
        neighbour = cluster.srun("docker run --rm img echo well", user="bob", options="--mem=200")
        verdict = job.wait()["verdict"]
    finally:
        cluster.must(node, nfs.START)
    assert neighbour.out.endswith("\nwell\n") and verdict == "clean", (neighbour, verdict)
    assert f"-v {place}/ann: no answer of its file system in 10 s." in job.output and "goes on" in job.output, (
        job.output
    )

# SPDX-License-Identifier: Apache-2.0
"""The package on a node that runs jobs: upgraded, downgraded, removed. On nodes that were installed from it, by what
docs/install.md says."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import __version__
from tests.cluster.slurm import Cluster, Job
from tests.cluster.test_upgrade import main_pid
from tests.labs.machine import SOURCE
from tests.labs.packaged import SECONDS, Packaged, steps
from tests.packages.suite import later

REMOVE = "apt-get -qq -y remove slurm-hooks 2>&1"
LOOK = "/usr/bin/python3 -IS /src/tests/cluster/ours.py"
# A record that containerd keeps of a container which dockerd, killed in the middle, does not know.
OF_NOBODY = "mkdir -p /root/empty && ctr -n slurm-jobs containers create --rootfs /root/empty of-nobody /bin/true"
KEPT = "docker run -d --name kept img sleep 600 >/dev/null"
# Attached to a container that prints all the time, until it is told to end.
STREAM = """rm -f go; docker run --rm -v $PWD:/w img sh -c 'n=0
until [ -e /w/go ]; do n=$((n + 1)); echo line $n; sleep 0.1; done; exit 7'; echo "status $?"; rm -f go
docker run --rm img echo served again; docker ps --format '{{.Names}} {{.State}}'"""


@pytest.fixture
def site(cluster: Cluster) -> Packaged:
    """The node as its operator has it; skips where there was no package."""
    if not isinstance(cluster.lab, Packaged):
        pytest.skip("not installed from a package: make test-nodes")
    return cluster.lab


@pytest.fixture
def moves(cluster: Cluster, node: str, site: Packaged, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The page's upgrade and downgrade. The release that the first one names lies where it is typed; that of this
    checkout is on the node again afterwards."""
    upgrade, downgrade = (
        f"set -e; cd /root/debs; {command}" for _, command in steps(site.suite, node, "moved on nodes of")
    )
    (built,) = (SOURCE / "build" / "deb").glob("slurm-hooks_*.deb")
    newer = later(built, version_of(upgrade), tmp_path)
    with tempfile.TemporaryDirectory(dir=SOURCE / "build") as shown:  # the node sees it below /src
        Path(shown).chmod(0o755)
        shutil.copy(newer, shown)
        cluster.must(node, f"cp /src/{Path(shown, newer.name).relative_to(SOURCE)} /root/debs/")
    yield upgrade, downgrade
    cluster.must(node, f"{downgrade}\nrm {newer.name}", timeout=SECONDS)
    assert installed(cluster) == __version__


def version_of(command: str) -> str:
    """That of the package which an apt installs."""
    (version,) = re.findall(r"/slurm-hooks_(\S+)_all\.deb", command)
    return str(version)


def installed(cluster: Cluster) -> str:
    return cluster.must(cluster.node, "slurm-hooks --version").split()[1]


def lines(job: Job) -> list[int]:
    """The numbers of those that STREAM has printed."""
    return [int(number) for number in re.findall(r"^line (\d+)$", job.output, re.MULTILINE)]


def moved_under_a_job(cluster: Cluster, command: str) -> None:
    """Type an upgrade or a downgrade while a job is at work: nothing of it ends, and the new release serves on."""
    node, dockerd = cluster.node, "systemctl show -P MainPID slurm-hooks-docker"
    job = cluster.sbatch(f"{KEPT}; {STREAM}")
    job.wait_for_output("line 1")
    old, kept = main_pid(cluster), cluster.must(node, dockerd)
    cluster.must(node, command, timeout=SECONDS)
    assert installed(cluster) == version_of(command)
    cluster.wait(node, f"[ $(systemctl show -P MainPID slurm-hooks-broker) != {old} ]", "the new broker")
    job.wait_for_output(f"line {lines(job)[-1] + 1}")
    cluster.must(node, f"kill -0 {old}; touch ~ann/go")  # the old one serves the stream
    assert job.wait()["verdict"] == "clean"
    assert lines(job) == list(range(1, len(lines(job)) + 1))
    assert "\nstatus 7\nserved again\nkept running\n" in job.output, job.output
    cluster.wait(node, f"! kill -0 {old} 2>/dev/null", "the old broker's end")
    assert cluster.must(node, dockerd) == kept


def test_an_upgrade_under_a_job_ends_nothing_of_it(cluster: Cluster, moves: tuple[str, str]) -> None:
    moved_under_a_job(cluster, moves[0])


def test_a_downgrade_under_a_job_ends_nothing_of_it(cluster: Cluster, moves: tuple[str, str]) -> None:
    cluster.must(cluster.node, moves[0], timeout=SECONDS)
    moved_under_a_job(cluster, moves[1])


def refused(cluster: Cluster) -> str:
    """What of ours a removal that is refused says; the broker is the one that it was."""
    before = main_pid(cluster)
    done = cluster.sh(cluster.node, REMOVE, timeout=SECONDS)
    assert done.status != 0, done
    assert main_pid(cluster) == before
    (said,) = re.findall(r"^slurm-hooks: .*", done.out, re.MULTILINE)
    return str(said)


@pytest.mark.usefixtures("site")
def test_a_removal_is_refused_while_slurm_names_us(cluster: Cluster, node: str) -> None:
    assert refused(cluster).startswith("slurm-hooks: not removed: slurm.conf names slurm-hooks; ")


def test_a_removal_is_refused_while_a_job_has_containers(cluster: Cluster, node: str, site: Packaged) -> None:
    conf = "/etc/slurm/slurm.conf"
    job = cluster.sbatch(f"{KEPT}; {STREAM}")
    job.wait_for_output("line 1")
    (forget,) = (command for _, command in steps(site.suite, node, "taken off nodes of") if conf in command)
    # As where slurm.conf was changed, and nobody has looked for jobs; Slurm itself is not told.
    cluster.must(node, f"cp -p {conf} /root/kept.conf; {forget.partition(' && ')[0]}")
    said = refused(cluster)
    cluster.must(node, f"mv /root/kept.conf {conf}; touch ~ann/go")
    assert said.startswith("slurm-hooks: not removed: jobs have containers here; "), said
    assert job.wait()["verdict"] == "clean"
    assert "\nstatus 7\nserved again\nkept running\n" in job.output, job.output


def test_a_purge_leaves_nothing_of_ours_and_a_node_that_runs_jobs(cluster: Cluster, node: str, site: Packaged) -> None:
    files = cluster.must(node, "dpkg -L slurm-hooks; dpkg -L slurm-hooks-msgspec 2>/dev/null || true")
    cluster.must(node, OF_NOBODY)
    seen = {line.split()[0] for line in cluster.must(node, LOOK, stdin=files).splitlines()}
    assert seen >= {"unit", "process", "socket", "file", "profile", "namespace", "slurm"}, "what is to go was not seen"
    try:
        site.taken_off()
        left = cluster.must(node, LOOK, stdin=files)
        assert left == "", (left, cluster.sh(node, "ctr namespaces remove slurm-jobs"))
        done = cluster.srun("echo runs; docker ps 2>&1")
        assert "runs\n" in done.out and "slurm-hooks" not in done.out, done
        assert cluster.drain_reason(node) == ""
        cluster.wait_idle(node)
        assert cluster.left_on(node) == [], "Slurm's own, of a job without us"
    finally:
        site.installed()
    assert cluster.srun("docker run --rm img echo again").out.endswith("\nagain\n")

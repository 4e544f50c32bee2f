# SPDX-License-Identifier: Apache-2.0
"""The package on a node that runs jobs: upgraded, downgraded, removed. On nodes that were installed from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slurm_hooks import __version__
from tests.cluster.slurm import Cluster
from tests.cluster.test_upgrade import ATTACHED, main_pid
from tests.labs.machine import SOURCE
from tests.labs.packaged import Packaged, steps
from tests.packages.suite import later

KEPT = "docker run -d --name kept img sleep 600 >/dev/null"
LATER = f"{__version__}+later"
# What the page says stays, what is Slurm's and Debian's own, and the lab's.
STAYS = r"slurm-wlm|slurmd|slurmctld|slurmstepd|lab-|/src/|/usr/share/doc/slurm|apt/|dpkg/|journal|/root/debs"
# Units, mounts, processes, sockets, files, tables and profiles of ours.
OURS = f"""{{ systemctl list-unit-files --no-legend 'slurm-hooks*'; grep slurm-hooks /proc/self/mounts
pgrep -af 'slurm-hooks|slurm-jobs' | grep -v $$; ss -xlH | grep slurm-hooks
nft list tables 2>/dev/null | grep slurm_hooks; grep slurm-hooks /sys/kernel/security/apparmor/profiles
ctr namespaces list -q | grep slurm-jobs
find / -xdev \\( -name '*slurm-hooks*' -o -name '*slurm_hooks*' -o -name 'slurm-jobs*' \\) -not -path '/proc/*'
}} | grep -Ev '{STAYS}'; true"""


@pytest.fixture
def site(cluster: Cluster) -> Packaged:
    """The node as its operator has it; skips where there was no package."""
    if not isinstance(cluster.lab, Packaged):
        pytest.skip("not installed from a package: make test-nodes")
    return cluster.lab


def install(cluster: Cluster, deb: str, options: str = "") -> None:
    """As the page has it, with nobody to ask."""
    cluster.must(cluster.node, f"apt-get -qq -y {options} install {deb} 2>&1", timeout=200)


@pytest.mark.usefixtures("site")
def test_an_upgrade_and_a_downgrade_with_a_job_at_work_end_nothing(cluster: Cluster, node: str, tmp_path: Path) -> None:
    (deb,) = (SOURCE / "build" / "deb").glob("slurm-hooks_*.deb")
    shown = SOURCE / "build" / f"later-{node}-{cluster.lab.name}"  # where the node sees it, under /src
    shown.mkdir(exist_ok=True)
    newer = later(deb, LATER, tmp_path)
    shutil.copy(newer, shown)
    moves = {
        LATER: (f"/src/{shown.relative_to(SOURCE)}/{newer.name}", ""),
        __version__: (f"/root/debs/{deb.name}", "--allow-downgrades"),
    }
    try:
        for version, (package, options) in moves.items():
            job = cluster.sbatch(f"{KEPT}; {ATTACHED}; docker ps --format '{{{{.Names}}}} {{{{.State}}}}'")
            job.wait_for_output("begun")
            before = main_pid(cluster)
            install(cluster, package, options)
            assert cluster.must(node, "slurm-hooks --version").split() == ["slurm-hooks", version]
            cluster.wait(node, f"[ $(systemctl show -P MainPID slurm-hooks-broker) != {before} ]", "the new broker")
            cluster.must(node, "touch go", user="ann")
            assert job.wait()["verdict"] == "clean"
            expected = "begun\nline 1\nline 2\nline 3\nstatus 7\nserved again\nkept running\n"
            assert expected in job.output, job.output
    finally:
        shutil.rmtree(shown)


def test_a_removal_is_refused_while_a_job_has_containers_and_while_slurm_runs_it(
    cluster: Cluster, node: str, site: Packaged
) -> None:
    conf = "/etc/slurm/slurm.conf"
    job = cluster.sbatch(f"{KEPT}; echo begun; sleep 600")
    job.wait_for_output("begun")
    named = cluster.sh(node, "apt-get -qq -y remove slurm-hooks 2>&1", timeout=100)
    cluster.must(node, rf"cp -p {conf} /root/kept.conf; sed -i '\,slurm-hooks\|=/etc/slurm/task_,d' {conf}")
    held = cluster.sh(node, "apt-get -qq -y remove slurm-hooks 2>&1", timeout=100)
    cluster.must(node, f"mv /root/kept.conf {conf}")
    assert named.status and "slurm-hooks: not removed: slurm.conf names slurm-hooks" in named.out, named
    assert held.status and "slurm-hooks: not removed: jobs have containers here; drain the node first" in held.out, held
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    assert cluster.srun("docker run --rm img echo goes on").out.endswith("\ngoes on\n")


def test_a_purge_leaves_nothing_of_ours_and_a_cluster_that_runs_jobs(
    cluster: Cluster, node: str, site: Packaged
) -> None:
    assert "slurm-hooks-broker.service" in cluster.must(node, OURS), "what is to be gone was not seen"
    for _, command in steps(site.suite, node, "taken off nodes of"):
        cluster.must(node, command, timeout=200)
    try:
        assert cluster.must(node, OURS) == ""
        done = cluster.srun("echo runs; docker ps 2>&1")
        assert "runs\n" in done.out and "slurm-hooks" not in done.out, done
        assert cluster.drain_reason(node) == ""
    finally:
        site.installed()
    assert cluster.srun("docker run --rm img echo again").out.endswith("\nagain\n")

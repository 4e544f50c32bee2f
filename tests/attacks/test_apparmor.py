# SPDX-License-Identifier: Apache-2.0
"""The AppArmor profile alone, then a job's containers under it."""

from __future__ import annotations

import pytest

from slurm_hooks.knobs import proc
from slurm_hooks.knobs.apparmor import PROFILE
from tests.attacks.one_wall import Tried, tried
from tests.cluster.slurm import Cluster
from tests.faults.gate import gate

PROFILES = "/sys/kernel/security/apparmor/profiles"
FILE = f"/etc/apparmor.d/{PROFILE}"
PRIVILEGED = "--privileged"  # a writable /proc/sys, no seccomp, every capability and device
DOCKERS = {"loopback of IPv6": "EADDRNOTAVAIL"}  # Docker 20.10 takes IPv6 from a container without a network
LABEL = "cat /proc/self/attr/current"


@pytest.fixture(scope="module")
def node_with_apparmor(cluster: Cluster) -> str:
    """A node whose kernel has AppArmor."""
    if cluster.sh(cluster.node, "grep -q Y /sys/module/apparmor/parameters/enabled").status:
        pytest.skip("the kernel of this lab has no AppArmor")
    return cluster.node


@pytest.fixture(scope="module")
def confined(cluster: Cluster, node_with_apparmor: str) -> Tried:
    return tried(cluster, f"{PRIVILEGED} --security-opt apparmor={PROFILE}")


@pytest.fixture(scope="module")
def unconfined(cluster: Cluster, node_with_apparmor: str) -> Tried:
    return tried(cluster, f"{PRIVILEGED} --security-opt apparmor=unconfined")


def test_it_compiles_and_is_enforced(cluster: Cluster, node_with_apparmor: str) -> None:
    cluster.must(node_with_apparmor, f"apparmor_parser --skip-kernel-load --skip-cache --Werror {FILE}")
    assert f"{PROFILE} (enforce)" in cluster.must(node_with_apparmor, f"cat {PROFILES}").splitlines()


def test_what_programs_do_works(cluster: Cluster, confined: Tried) -> None:
    lost = DOCKERS if cluster.docker_release == (20, 10) else {}
    assert {name: error for name, error in confined.works.items() if error} == lost


def test_without_it_each_attack_is_done(unconfined: Tried) -> None:
    failed = {name for name, error in unconfined.attacks.items() if error}
    # Some kernels lack a file that others mask.
    assert failed <= {f"read {path}" for path in proc.MASKED_PATHS if unconfined.attacks[f"read {path}"] == "ENOENT"}


def test_with_it_none_is(cluster: Cluster, confined: Tried, unconfined: Tried) -> None:
    parser = cluster.must(cluster.node, "apparmor_parser --version").split("version ")[1]
    beyond = {"a user namespace"} if int(parser.partition(".")[0]) < 4 else set()  # seccomp alone closes it there
    assert unconfined.done - confined.denied == beyond


def test_a_container_and_its_execs_have_it(cluster: Cluster, node_with_apparmor: str, node: str) -> None:
    script = f"""docker run --rm img {LABEL}
    docker run -d --name e0 img sleep 60 >/dev/null; docker exec e0 {LABEL}; docker rm -f e0 >/dev/null"""
    assert cluster.srun(script).out.splitlines()[-2:] == [f"{PROFILE} (enforce)"] * 2


@pytest.mark.parametrize("other", ["unconfined", "docker-default"])
def test_a_container_that_dockerd_gave_another_is_ended(
    cluster: Cluster, node_with_apparmor: str, node: str, other: str
) -> None:
    with gate(cluster, "rewritten", "/containers/create", (f'"apparmor={PROFILE}"', f'"apparmor={other}"')):
        job = cluster.run("docker run --rm img sleep 600; echo exit $?")
    assert f"the AppArmor profile is '{other}" in job.output, job.output
    assert len(job.events("differs")) == 1


def test_where_it_is_not_loaded_no_container_starts_until_the_broker_is_reloaded(
    cluster: Cluster, node_with_apparmor: str, node: str
) -> None:
    cluster.must(node, f"apparmor_parser --remove {FILE}")
    try:
        done = cluster.srun("docker run --rm img true; echo exit $?")
    finally:
        cluster.must(node, "systemctl reload slurm-hooks-broker")
    assert f"its kernel has AppArmor, and not the profile {PROFILE}" in done.err, done
    assert "exit 0" not in done.out
    assert cluster.srun("docker run --rm img echo again").out.splitlines()[-1:] == ["again"]

# SPDX-License-Identifier: Apache-2.0
"""The AppArmor profile alone: root with every capability, without seccomp, masks or a pid namespace, through dockerd.

No job gets such a container. It shows that the profile is a wall of its own: what it denies is done in the same
container without it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from slurm_hooks.knobs import proc
from slurm_hooks.knobs.apparmor import PROFILE
from tests.cluster.slurm import Cluster
from tests.faults.gate import gate

PROFILES = "/sys/kernel/security/apparmor/profiles"
FILE = f"/etc/apparmor.d/{PROFILE}"
LABEL = "cat /proc/self/attr/current"
READ = ["/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/sys/kernel/security", *proc.MASKED_PATHS]
DOCKER = "docker -H unix:///run/slurm-hooks-docker/docker.sock"
# The node's Python in the image, whose /bin stays. A writable /proc/sys needs --privileged, which gives all else too.
RUN = f"""sleep 600 & other=$!; trap 'kill -KILL $other' EXIT
{DOCKER} run --rm --privileged --pid host --network none --security-opt apparmor=$profile --tmpfs /mnt --tmpfs /tmp \\
    -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro -v /src:/src:ro \\
    img /usr/bin/python3 -I /src/tests/attacks/privileged.py $other {" ".join(READ)}"""


@dataclass(frozen=True)
class Tried:
    """What became of each, by its name: "" where it was done."""

    works: dict[str, str]
    attacks: dict[str, str]


@pytest.fixture(scope="module")
def node_with_apparmor(cluster: Cluster) -> str:
    """A node whose kernel has AppArmor."""
    if cluster.sh(cluster.node, "grep -q Y /sys/module/apparmor/parameters/enabled").status:
        pytest.skip("the kernel of this lab has no AppArmor")
    return cluster.node


def tried(cluster: Cluster, profile: str) -> Tried:
    done = cluster.sh(cluster.node, f"profile={profile}\n{RUN}")
    assert done.status == 0, done
    return Tried(**json.loads(done.out))


@pytest.fixture(scope="module")
def confined(cluster: Cluster, node_with_apparmor: str) -> Tried:
    return tried(cluster, PROFILE)


@pytest.fixture(scope="module")
def unconfined(cluster: Cluster, node_with_apparmor: str) -> Tried:
    return tried(cluster, "unconfined")


def test_it_compiles_and_is_enforced(cluster: Cluster, node_with_apparmor: str) -> None:
    cluster.must(node_with_apparmor, f"apparmor_parser --skip-kernel-load --skip-cache --Werror {FILE}")
    assert f"{PROFILE} (enforce)" in cluster.must(node_with_apparmor, f"cat {PROFILES}").splitlines()


def test_what_programs_do_works(confined: Tried) -> None:
    assert {name: error for name, error in confined.works.items() if error} == {}


def test_without_it_each_attack_is_done(unconfined: Tried) -> None:
    failed = {name for name, error in unconfined.attacks.items() if error}
    # Some kernels lack a file that others mask.
    assert failed <= {f"read {path}" for path in proc.MASKED_PATHS if unconfined.attacks[f"read {path}"] == "ENOENT"}


def test_with_it_none_is(confined: Tried, unconfined: Tried) -> None:
    done = {name: error for name, error in confined.attacks.items() if error not in ("EACCES", "EPERM")}
    assert {name for name in done if unconfined.attacks[name] != "ENOENT"} == set()


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

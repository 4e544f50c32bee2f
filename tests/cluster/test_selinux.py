# SPDX-License-Identifier: Apache-2.0
"""SELinux, on the lab whose kernel has it (`--lab uml-selinux`): type and level, permissive and enforcing.

A denial is what the kernel says of it. While it is permissive it says each once, until it enforces again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from slurm_hooks.knobs.selinux import TYPE, level
from tests.attacks.one_wall import tried
from tests.cluster.slurm import Cluster
from tests.faults.gate import gate

LABEL = "cat /proc/self/attr/current"
# What jobs do with a container: files of the user's and of /tmp, programs among them, and the site's software.
JOB = f"""mkdir -p w /tmp/w; echo hello | tee w/in > /tmp/w/in
printf '#!/bin/sh\\necho by itself' > w/prog; chmod 755 w/prog
docker run --rm -v $PWD/w:/w -w /w img sh -c '
    {LABEL}; echo; cat in; mkdir d; echo back > d/out; ln -s in l; mkfifo p; cp /bin/busybox .; ./busybox echo a copy'
docker run --rm -v $PWD/w:/w img /w/prog
docker run --rm -v /tmp/w:/w img cat /w/in
docker run --rm -v /opt:/opt:ro img ls /opt
docker run --rm -v $PWD/w/in:/one img cat /one
docker run -d --name e0 img sleep 60 >/dev/null; docker exec e0 {LABEL}; echo; docker rm -f e0 >/dev/null
docker run --rm img sh -c 'id -un; grep -c . /etc/group >/dev/null && echo groups'
cat w/d/out; ls -Z w | cut -d: -f4- | cut -d' ' -f1 | sort -u; rm -r w /tmp/w"""
SAID = ["hello", "a copy", "by itself", "hello", "docker-clients", "hello", "ann", "groups", "back", "s0"]


@pytest.fixture(scope="module")
def selinux(cluster: Cluster) -> str:
    """A node whose kernel has SELinux."""
    if cluster.sh(cluster.node, "test -e /sys/fs/selinux/enforce").status:
        pytest.skip("the kernel of this lab has no SELinux: --lab uml-selinux")
    return cluster.node


@pytest.fixture
def enforcing(cluster: Cluster, selinux: str) -> Iterator[str]:
    """It enforces meanwhile, and its log is empty at first."""
    cluster.must(selinux, "setenforce 1; dmesg --clear")
    yield selinux
    cluster.must(selinux, "setenforce 0")


def denials(cluster: Cluster) -> list[str]:
    """What was denied to containers and to what makes them, since the log was cleared."""
    said = cluster.must(cluster.node, "dmesg").splitlines()
    return [line for line in said if "avc:  denied" in line and any(f":{one}:" in line for one in (TYPE, "dockerd_t"))]


def test_nothing_of_a_job_would_be_denied(cluster: Cluster, selinux: str, node: str) -> None:
    cluster.must(node, "setenforce 1; setenforce 0; dmesg --clear")
    done = cluster.srun(JOB, timeout=240)
    assert [line for line in done.out.splitlines() if line in SAID] == SAID, done
    assert denials(cluster) == []


def found(cluster: Cluster) -> set[str]:
    """What `check` says of SELinux and AppArmor here."""
    said = json.loads(cluster.sh(cluster.node, "slurm-hooks check --json").out)
    return {finding["name"] for finding in said if finding["knob"] in ("selinux", "apparmor")}


def test_check_says_what_takes_its_effect_away(cluster: Cluster, enforcing: str) -> None:
    assert found(cluster) == set()
    cluster.must(enforcing, "setenforce 0; touch $(cd /var/lib/selinux/*/active/modules && mkdir -p disabled && pwd)"
                            "/disabled/slurm-hooks")  # fmt: skip
    try:
        assert found(cluster) == {"selinux-permissive", "selinux-module"}
    finally:
        cluster.must(enforcing, "rm /var/lib/selinux/*/active/modules/disabled/slurm-hooks")


def test_enforced_it_runs_as_well_with_the_jobs_label(cluster: Cluster, enforcing: str, node: str) -> None:
    job = cluster.sbatch(JOB)
    assert job.wait()["verdict"] == "clean"
    lines = job.output.replace("\0", "").splitlines()
    assert [line for line in lines if line in SAID] == SAID
    assert [line for line in lines if TYPE in line] == [f"system_u:system_r:{TYPE}:{level(job.id)}"] * 2
    assert [event["read_back"] for event in job.events("start")].count("as asked") >= 1
    assert denials(cluster) == []


@pytest.mark.parametrize("change", ["--type ssh_home_t", "--range s0:c1000,c1001"])
def test_a_file_of_another_label_is_denied_though_it_is_the_users(
    cluster: Cluster, enforcing: str, node: str, change: str
) -> None:
    cluster.must(node, f"echo secret > kept; chcon {change} kept", user="ann")
    try:
        done = cluster.srun("cat kept; docker run --rm -v $PWD:/w:ro img cat /w/kept")
    finally:
        cluster.must(node, "rm kept", user="ann")
    assert done.out.count("secret") == 1, done
    assert "Permission denied" in done.err
    assert any(' name="kept" ' in line and TYPE in line for line in denials(cluster))


def test_a_container_that_dockerd_gave_another_type_is_ended(cluster: Cluster, selinux: str, node: str) -> None:
    rewrite = (f'"label=type:{TYPE}"', '"label=type:container_t"')
    with gate(cluster, "rewritten", "/containers/create", rewrite):
        job = cluster.run("docker run --rm img sleep 600; echo exit $?")
    assert "the SELinux label is 'system_u:system_r:container_t:" in job.output, job.output
    assert len(job.events("differs")) == 1


def test_enforced_the_first_program_keeps_its_limits_and_its_environment(
    cluster: Cluster, enforcing: str, node: str
) -> None:
    limits = "docker run --rm --ulimit nofile=50:60 img grep 'Max open files' /proc/self/limits"
    done = cluster.srun(f"ulimit -n 60; {limits}; docker run --rm img od -A n -t u8 -w16 /proc/1/auxv")
    assert re.search(r"Max open files +50 +60 ", done.out), done
    # AT_SECURE of getauxval(3): not 0, and ld.so ignores LD_LIBRARY_PATH and its like.
    assert re.findall(r"^ +23 +(\d+)$", done.out, re.MULTILINE) == ["0"], done


# What the policy leaves to a program: of these, other walls are the only ones.
OWN = {"write the own id map", "write the own login", "read /sys/kernel/security"}


def test_the_type_is_a_wall_of_its_own(cluster: Cluster, enforcing: str, node: str) -> None:
    walls = "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    label = f"--security-opt label=type:{TYPE} --security-opt label=level:s0:c1,c2"
    confined = tried(cluster, f"--cap-add ALL {walls} {label}")
    cluster.must(enforcing, "setenforce 0")
    unconfined = tried(cluster, f"--cap-add ALL {walls} {label}")
    assert {name: error for name, error in confined.works.items() if error} == {}
    left = {name for name in unconfined.done - confined.denied if not name.startswith("read ")}
    assert left <= OWN | {"write /sys"}  # the last: its mount stays read-only, as its remount was denied
    assert len(confined.denied) > 20

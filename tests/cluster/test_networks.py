# SPDX-License-Identifier: Apache-2.0
"""Restricted networks in a user's job, and their end: what a user types and sees, what the Epilog takes along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.beyond import around, stand, start
from tests.cluster.slurm import Cluster
from tests.faults.gate import gate


@pytest.fixture(scope="module")
def offered(cluster: Cluster) -> Iterator[None]:
    with around(cluster):
        yield


@pytest.fixture
def node(node: str, cluster: Cluster, offered: None) -> str:
    """An idle one that offers networks, with rules that stand."""
    stand(cluster)
    return node


def test_a_user_types_a_name_and_gets_there(cluster: Cluster, node: str) -> None:
    """From within, with what the image has; its first act is to connect, before anyone could have made rules for it."""
    lines = {
        "first": "nc -w 3 10.99.0.2 6000 </dev/null", "named": "nc -w 3 license.example.test 27000 </dev/null",
        "other": "nslookup -timeout=2 other.example.test", "six": "nc -w 3 fd99::2 27000 </dev/null",
    }  # fmt: skip
    said = cluster.srun_each({name: f"docker run --rm --network licenses img {line}" for name, line in lines.items()})
    assert {name: done.status == 0 for name, done in said.items()} == {
        "first": False, "named": True, "other": False, "six": False,
    }, said  # fmt: skip
    assert said["named"].out == "answer" and "WARNING" not in said["named"].err, said["named"]
    assert "other.example" not in cluster.must(node, "cat /run/lab-heard; true")


def test_a_service_on_another_node_is_reached_by_its_name_and_nothing_else_there(cluster: Cluster, node: str) -> None:
    if len(cluster.lab.nodes) < 2:
        pytest.skip("a lab of one node")
    other = cluster.lab.nodes[1]
    serve = "while :; do echo hello | busybox nc -l -p 27000; done"
    cluster.must(other, f"setsid --fork timeout 60 sh -c '{serve}' </dev/null >/dev/null 2>&1")
    with cluster.site(node, f'[network.node]\nreach = ["{other}:27000/tcp"]'):
        stand(cluster)
        ask = f"nc -w 3 {other} 27000 </dev/null; nc -w 3 {other} 6818 </dev/null"
        said = cluster.srun(f"docker run --rm --network node img sh -c '{ask}'")
    assert said.out.splitlines()[-1] == "hello" and "No route to host" in said.err, said


def test_without_the_word_there_is_no_network(cluster: Cluster, node: str) -> None:
    said = cluster.srun("docker run --rm img cat /proc/net/dev /proc/net/route; docker network ls --format '{{.Name}}'")
    lines = said.out.splitlines()
    assert [line.split(":")[0].strip() for line in lines[3:-4]] == ["lo"], said
    assert lines[-3:] == ["licenses", "mirror", "none"], said


def test_a_user_sees_the_network_by_the_sites_name(cluster: Cluster, node: str) -> None:
    form = "{{.HostConfig.NetworkMode}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
    said = cluster.srun(
        f"docker run -d --name aa --network licenses img sleep 60 >/dev/null; docker inspect -f '{form}' aa;"
        "docker ps --format '{{.Networks}}'; docker ps --filter network=licenses --format '{{.Names}}';"
        "docker ps --filter network=none --filter network=mirror --format '{{.Names}}'"
    )
    assert said.out.splitlines()[-3:] == ["licenses licenses", "licenses", "aa"], said


def test_the_last_one_of_a_network_is_not_the_last_one_of_all(cluster: Cluster, node: str) -> None:
    said = cluster.srun(
        "docker run --name aa img true; docker run --name bb --network licenses img true;"
        "docker ps -n 1 --filter network=none --format '{{.Names}}'"
    )
    assert said.out.splitlines()[-1] == "aa", said


def test_an_epilog_takes_networks_along(cluster: Cluster, node: str) -> None:
    """left_on looks for networks and bridges, from outside."""
    job, there = start(cluster, "ann", {"aa": "licenses", "mm": "mirror"})
    assert len({one.bridge for one in there.values()}) == 2
    cluster.must(node, " && ".join(f"test -d /sys/class/net/{one.bridge}/bridge" for one in there.values()))
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    assert cluster.left_on(node) == []


def test_a_network_goes_whose_containers_are_gone_long_since(cluster: Cluster, node: str) -> None:
    job = cluster.run("docker run --rm --network licenses img true; ls /sys/class/net")
    assert "shn" in job.output and job.events("epilog")[-1]["verdict"] == "clean", job.output
    assert cluster.left_on(node) == []


def test_without_dockerd_the_node_drains_and_the_next_epilog_takes_it_along(cluster: Cluster, node: str) -> None:
    job, there = start(cluster, "ann", {"aa": "licenses"})
    cluster.service(node, "stop", "dockerd")
    try:
        job.cancel()
        verdict = job.wait()["verdict"]
        left = [event["what"] for event in job.events("left") if event["kind"] == "network"]
    finally:
        cluster.service(node, "start", "dockerd")
    assert "left" in verdict and left == [f"the bridge {there['aa'].bridge}"], (verdict, left)
    cluster.must(node, f"slurm-hooks epilog {job.id}")
    cluster.resume(node)
    assert cluster.left_on(node) == []


def test_the_sweep_takes_along_what_no_record_owns(cluster: Cluster, node: str) -> None:
    made = "--label slurm-hooks.job=4711-0-0badc0de -o com.docker.network.bridge.name=shn00004711"
    assert cluster.docker(node, f"network create {made} --subnet 198.19.255.0/24 lost").status == 0
    cluster.must(node, "ip link add shn00004712 type bridge; ip link set shn00004712 up")
    said = cluster.must(node, "slurm-hooks sweep")
    assert "a network without a record" in said and "the bridge shn00004712" in said, said
    assert cluster.left_on(node) == []


def test_two_at_once_make_one_network(cluster: Cluster, node: str) -> None:
    run = "docker run --rm --network licenses img true & "
    job = cluster.run(f"{run * 4} wait; ls -d /sys/class/net/shn* | wc -l")
    assert "\n1\n" in job.output, job.output


def test_where_the_rules_are_not_known_to_stand_nobody_joins(cluster: Cluster, node: str) -> None:
    cluster.must(node, "mv /run/slurm-hooks/networks.json /run/lab-networks.json")
    try:
        said = cluster.srun("docker run --rm --network licenses img true")
    finally:
        cluster.must(node, "mv /run/lab-networks.json /run/slurm-hooks/networks.json")
    assert said.status and "its firewall is not known to stand (slurm-hooks networks has not run" in said.err, said


def test_what_somebody_changed_in_the_rules_is_put_back(cluster: Cluster, node: str) -> None:
    cluster.must(node, "nft flush chain inet slurm_hooks input")
    assert cluster.must(node, "slurm-hooks networks").splitlines()[-1] == "slurm-hooks networks: written"
    assert cluster.must(node, "slurm-hooks networks").splitlines()[-1] == "slurm-hooks networks: as they stood"
    assert "reject" in cluster.must(node, "nft list chain inet slurm_hooks input")


# The kernel loads them when the unit's nft asks for them: the unit itself may not.
MODULES = "nft_meta_bridge nft_masq nft_ct nft_reject_inet nft_chain_nat"
BOTH_STAND = "nft list table inet slurm_hooks && nft list table bridge slurm_hooks"


@pytest.fixture
def by_systemd(cluster: Cluster, node: str) -> Iterator[str]:
    """A node without rules, whose systemd is to write them."""
    if not cluster.has_systemd:
        pytest.skip("no systemd in a node of this lab")
    cluster.must(node, "nft flush ruleset; rm /run/slurm-hooks/networks.json")
    cluster.sh(node, f"for one in {MODULES}; do modprobe -r $one; done")
    yield node
    units = "slurm-hooks-networks.timer slurm-hooks-networks.service nftables.service"
    cluster.must(node, f"systemctl --quiet disable --now {units}")


def test_the_timer_writes_the_rules_within_its_units_walls(cluster: Cluster, by_systemd: str) -> None:
    cluster.must(by_systemd, "systemctl --quiet enable --now slurm-hooks-networks.timer")
    cluster.wait(by_systemd, f"{{ {BOTH_STAND}; }} >/dev/null 2>&1", "the rules")
    cluster.wait(by_systemd, "[ -e /run/slurm-hooks/networks.json ]", "what stands")
    assert cluster.must(by_systemd, "systemctl show --value -p Result slurm-hooks-networks.service") == "success\n"
    assert "10.99.0.2" in cluster.must(by_systemd, "nft list table inet slurm_hooks")
    # And again: each half minute.
    cluster.must(by_systemd, "nft flush ruleset")
    cluster.wait(by_systemd, f"{{ {BOTH_STAND}; }} >/dev/null 2>&1", "the rules once more")
    assert "slurm-hooks-networks" not in cluster.must(by_systemd, "systemctl --failed --no-legend --plain")


def test_a_restart_of_the_nodes_firewall_brings_the_rules_back_at_once(cluster: Cluster, by_systemd: str) -> None:
    cluster.must(by_systemd, "systemctl --quiet enable slurm-hooks-networks.service")
    # The timer is off: nobody else writes them.
    for verb in ("start", "restart"):
        cluster.must(by_systemd, f"nft flush ruleset; systemctl {verb} nftables.service")
        cluster.wait(by_systemd, f"{{ {BOTH_STAND}; }} >/dev/null 2>&1", f"the rules after a {verb}")


# A container without a network has none whatever its mode says: dockerd has to be told both.
CONNECTED = ('"NetworkDisabled": true', '"NetworkDisabled": false')


@pytest.mark.parametrize(
    ("run", "asked", "made", "words"),
    [
        ("docker run --rm", '"NetworkMode": "none"', '"NetworkMode": "host"', "it shares the node's network"),
        (
            "docker run -d --network mirror img sleep 60; docker run --rm --network licenses",
            '-licenses"', '-mirror"', "its routes are",
        ),
    ],
    ids=["the node's", "another network of the site's"],
)  # fmt: skip
def test_what_dockerd_made_of_another_network_is_ended(
    cluster: Cluster, node: str, run: str, asked: str, made: str, words: str
) -> None:
    with gate(cluster, "rewritten", "/containers/create", (asked, made), CONNECTED):
        job = cluster.run(f"{run} img sleep 600; echo exit $?")
    assert "this container was ended: it was not confined as asked" in job.output, job.output
    assert words in str(job.events("differs")[0]["what"]), job.events("differs")


def test_a_container_in_another_jobs_network_is_ended(cluster: Cluster, node: str) -> None:
    first, _ = start(cluster, "bob", {"cc": "licenses"})
    theirs = cluster.docker(node, "network ls --filter label=slurm-hooks.job --format '{{.Name}}'").out.strip()
    joins = ('"NetworkMode": "none"', f'"NetworkMode": "{theirs}"')
    with gate(cluster, "rewritten", "/containers/create", joins, CONNECTED):
        job = cluster.run("docker run --rm img sleep 600", options="--mem=200")
    first.cancel()
    first.wait()
    assert "it has the interface eth0" in str(job.events("differs")[0]["what"]), job.output

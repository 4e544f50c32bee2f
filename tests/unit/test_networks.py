# SPDX-License-Identifier: Apache-2.0
"""Restricted networks: what names resolve to, the rules' text, what the broker lets join, what it makes of dockerd."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

import pytest

from slurm_hooks import firewall, jobs, networks
from slurm_hooks.broker import networks as own
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.errors import NodeFault, Refused
from slurm_hooks.firewall import Open
from slurm_hooks.knobs import network as knob
from slurm_hooks.knobs.contract import Links, Reach
from slurm_hooks.networks import Reached, State, reached
from slurm_hooks.services import parsed
from tests.unit.policy import JOB, cli, decide, sent
from tests.unit.test_jobs import job_of
from tests.unit.test_settings import site
from tests.unit.test_verify import GOOD

SITE = site("[network.licenses]\nreach = ['lic.example:27000/tcp', '10.0.0.0/24:53/udp']")
NAMED = parsed("lic.example:27000/tcp")
POOL = IPv4Network("198.18.0.0/15")
NOW = 1_000_000.0


# -- names -----------------------------------------------------------------------------------------


def test_what_a_name_resolves_to_is_reached() -> None:
    found = reached(NAMED, ["10.1.2.4", "10.1.2.3", "10.1.2.3"], {}, (), NOW)
    assert found == Reached("lic.example:27000/tcp", "lic.example", {"10.1.2.3": NOW, "10.1.2.4": NOW})


@pytest.mark.parametrize("answer", ["no answer in 10 s", [], None])
def test_the_last_good_addresses_are_kept_while_a_name_does_not_resolve(answer: Any) -> None:
    found = reached(NAMED, answer, {"10.1.2.3": 1.0}, (), NOW)
    assert found.addresses == {"10.1.2.3": 1.0} and "the last known addresses are kept" in found.fault
    assert "no address is known" in reached(NAMED, answer, {}, (), NOW).fault


def test_an_address_is_kept_for_an_hour_after_the_resolver_gave_it() -> None:
    known = {"10.1.2.3": NOW - 3599, "10.1.2.4": NOW - 3601}
    assert set(reached(NAMED, ["10.1.2.5"], known, (), NOW).addresses) == {"10.1.2.3", "10.1.2.5"}


@pytest.mark.parametrize("bad", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "10.9.9.9"])
def test_what_no_container_reaches_is_left_out_and_told(bad: str) -> None:
    found = reached(NAMED, ["10.1.2.3", bad], {bad: NOW}, [IPv4Network("10.9.9.9")], NOW)
    assert list(found.addresses) == ["10.1.2.3"] and bad in found.fault


def test_a_name_does_not_grow_without_bound() -> None:
    answer = [f"10.1.{number // 250}.{number % 250}" for number in range(500)]
    assert len(reached(NAMED, answer, {}, (), NOW).addresses) == networks.MOST


def test_the_nodes_own_addresses_are_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "fib_trie"
    table.write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.231.0.0\n        /24 link UNICAST\n     |-- 10.231.0.2\n"
        "        /32 host LOCAL\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 10.231.0.255\n"
        "        /32 link BROADCAST\n"
    )
    assert networks.own_addresses(str(table)) == ["10.231.0.2"]
    assert networks.own_addresses(str(tmp_path / "none")) == []


# -- rules -----------------------------------------------------------------------------------------


def test_each_service_is_two_rules_and_what_is_unknown_is_none() -> None:
    state = State(networks={"licenses": [
        Reached("", "lic.example", {}), Reached("", "", {"10.0.0.0/24": NOW}),
    ]})  # fmt: skip
    text = networks.rules(SITE, state, by_bridge=False)
    assert "ip daddr { 10.0.0.0/24 } udp dport 53 accept" in text and "27000" not in text
    assert "ip saddr { 10.0.0.0/24 } udp sport 53 ct direction reply ct state established accept" in text


def test_each_chain_ends_with_no() -> None:
    lines = firewall.ruleset({"a": [Open((IPv4Network("10.0.0.1"),), "1", "tcp")]}, POOL, by_bridge=True).splitlines()
    chains = {line.split()[1]: number for number, line in enumerate(lines) if line.startswith("chain ")}
    ends = {name: lines[lines.index("}", number) - 1] for name, number in chains.items()}
    assert "reject" in ends["from_jobs"] and ends["to_jobs"] == "drop" and ends["output"].endswith("drop")
    assert all("policy accept" in line for line in lines if " hook " in line), "others' traffic is not ours"


def test_all_that_is_matched_is_ours() -> None:
    text = firewall.ruleset({"a": [Open((IPv4Network("10.0.0.1"),), "1", "tcp")]}, POOL, by_bridge=True)
    for chain in text.split("chain ")[1:]:
        name, rules = chain.split(" {", 1)[0], [line for line in chain.splitlines()[1:] if line not in ("}", "")]
        if name in ("forward", "input", "output", "postrouting"):
            mine = [line for line in rules if "policy accept" not in line and not line.startswith(("table", "chain"))]
            assert all('"shn*"' in line or str(POOL) in line for line in mine), mine


def test_the_tables_are_replaced_in_one_transaction() -> None:
    text = firewall.ruleset({}, POOL, by_bridge=False)
    for table in firewall.TABLES:
        before, _, after = text.partition(f"delete table {table}\n")
        assert f"table {table}\n" in before and f"table {table} {{" in after


class Nft:
    """nft, on a kernel that cannot tell a frame's bridge; what it was told, and what it lists."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stands = ""

    def run(self, arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        if arguments[0] == "list":
            return subprocess.CompletedProcess([], 0 if self.stands else 1, f"{arguments}{self.stands}", "")
        if "ibrname" in text:
            return subprocess.CompletedProcess([], 1, "", "Operation not supported")
        self.told.append(text)
        self.stands = text
        return subprocess.CompletedProcess([], 0, "", "")


def test_rules_are_written_where_they_do_not_stand_and_not_else(monkeypatch: pytest.MonkeyPatch) -> None:
    nft = Nft()
    monkeypatch.setattr(networks, "_run", nft.run)
    before, now = (
        State(),
        State(networks={"licenses": [Reached("", "lic.example", {}), Reached("", "", {"10.0.0.0/24": 1})]}),
    )
    assert networks.stand(SITE, now, before) is False and len(nft.told) == 1
    again = State(networks=now.networks)
    assert networks.stand(SITE, again, now) is True and len(nft.told) == 1
    assert (again.wanted, again.stands) == (now.wanted, now.stands)
    nft.stands += "somebody's"
    assert networks.stand(SITE, State(networks=now.networks), now) is False and len(nft.told) == 2
    nft.stands = ""
    assert networks.stand(SITE, State(networks=now.networks), now) is False and len(nft.told) == 3
    more = State(networks={"licenses": [Reached("", "lic.example", {"10.1.2.3": 1}), now.networks["licenses"][1]]})
    assert networks.stand(SITE, more, now) is False and "10.1.2.3/32" in nft.told[-1]


def test_rules_that_could_not_be_written_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nft = Nft()
    monkeypatch.setattr(networks, "_run", nft.run)
    old = {"licenses": [Reached("", "lic.example", {}), Reached("", "", {"10.0.0.0/24": 1})]}
    new = {"licenses": [Reached("", "lic.example", {"10.1.2.3": 1}), old["licenses"][1]]}
    first = State(networks=old)
    networks.stand(SITE, first, State())
    second = State(networks=new, stands=first.stands)
    with monkeypatch.context() as broken:
        broken.setattr(networks, "_written", failing)
        with pytest.raises(NodeFault, match="no memory"):
            networks.stand(SITE, second, first)
    assert networks.stand(SITE, State(networks=new, stands=second.stands), second) is False
    assert "10.1.2.3/32" in nft.told[-1]


def failing(text: str) -> None:
    raise NodeFault("nft", "no memory")


def test_without_nft_the_rules_do_not_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "NFT", ())
    now = State(networks={"licenses": [Reached("", "lic.example", {}), Reached("", "", {})]})
    with pytest.raises(NodeFault, match="Install the package nftables"):
        networks.stand(SITE, now, State())


def test_a_state_that_is_damaged_is_an_empty_one(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"networks": 1}', '{"networks": {}, "more": 1}', '{"networks": {"a": [{"x": 1}]}}'):
        (tmp_path / "networks.json").write_text(text)
        assert State.load(str(tmp_path / "networks.json")) == State()
    assert State.load(str(tmp_path / "none")) == State()


# -- who may join ----------------------------------------------------------------------------------

STANDS = Reach(hosts={"licenses": {"lic.example": ("10.1.2.3", "10.1.2.4")}})
TYPED = cli(HostConfig_NetworkMode="licenses", NetworkingConfig={"EndpointsConfig": {"licenses": {}}})


def test_a_network_that_the_site_offers_is_joined() -> None:
    decision = decide(TYPED, SITE, replace(JOB, reach=STANDS))
    host = decision.body({})["HostConfig"]
    assert decision.network == "licenses" and host["NetworkMode"] == f"slurm-hooks-{JOB.key}-licenses"
    assert host["ExtraHosts"] == ["lic.example:10.1.2.3", "lic.example:10.1.2.4"]
    assert host["Dns"] == [knob.NO_SERVER] and host["DnsSearch"] == ["."]
    assert "NetworkingConfig" not in decision.body({})


def test_none_is_still_the_default() -> None:
    host = sent(cli(), SITE)["HostConfig"]
    assert host["NetworkMode"] == "none" and "Dns" not in host and "ExtraHosts" not in host


@pytest.mark.parametrize(
    "changes",
    [
        {"HostConfig_Dns": ["10.0.0.1"]}, {"HostConfig_ExtraHosts": ["a:10.0.0.1"]}, {"HostConfig_Links": ["other"]},
        {"HostConfig_PortBindings": {"80/tcp": [{"HostPort": "80"}]}}, {"HostConfig_PublishAllPorts": True},
        {"HostConfig_DnsSearch": ["x"]}, {"HostConfig_DnsOptions": ["x"]}, {"MacAddress": "02:42:00:00:00:01"},
        {"NetworkingConfig": {"EndpointsConfig": {"licenses": {"Aliases": ["x"]}}}},
        {"NetworkingConfig": {"EndpointsConfig": {"licenses": {"IPAMConfig": {"IPv4Address": "198.18.0.9"}}}}},
        {"NetworkingConfig": {"EndpointsConfig": {"licenses": {}, "mirror": {}}}},
    ],
    ids=str,
)  # fmt: skip
def test_nothing_more_may_be_asked_of_it(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        decide({**TYPED, **cli(**{"HostConfig_NetworkMode": "licenses", **changes})}, SITE, replace(JOB, reach=STANDS))


def test_another_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Refused, match="or name what the site offers: licenses"):
        decide(cli(HostConfig_NetworkMode="other"), SITE)


@pytest.mark.parametrize(
    ("known", "words"), [(Reach(fault="nft is away"), "nft is away"), (Reach(), "does not stand yet")]
)
def test_where_the_rules_do_not_stand_nobody_joins(known: Reach, words: str) -> None:
    with pytest.raises(NodeFault, match=words):
        decide(TYPED, SITE, replace(JOB, reach=known))


def state(path: Path, **changes: Any) -> Reach:
    path.write_text(json.dumps({
        "at": time.time(), "pool": "198.18.0.0/15", "fault": "",
        "networks": {"licenses": [{"service": "", "host": "lic.example", "addresses": {"10.1.2.3": 1}, "fault": "f"}]},
        **changes,
    }))  # fmt: skip
    return own.reach(SITE, str(path))


def test_the_broker_believes_what_is_fresh_and_without_fault(tmp_path: Path) -> None:
    path = tmp_path / "networks.json"
    assert own.reach(SITE, str(path)).fault == "slurm-hooks networks has not run on this node"
    assert state(path) == Reach(hosts={"licenses": {"lic.example": ("10.1.2.3",)}})
    assert own.unresolved(str(path)) == ("f",)
    assert "has last run 4" in state(path, at=time.time() - 400).fault
    assert "has last run -4" in state(path, at=time.time() + 400).fault
    assert state(path, fault="nft: no").fault == "nft: no"
    assert "pool was changed" in state(path, pool="10.0.0.0/8").fault
    for damage in ({"at": "x"}, {"networks": 1}, {"networks": {"licenses": [1]}}):
        assert "cannot be read" in state(path, **damage).fault
    path.write_text("[")
    assert own.unresolved(str(path)) == () and own.reach(site(""), str(path)).fault == "this site offers none"


def test_what_is_started_again_is_asked_about_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "reach", lambda site: STANDS)
    own.standing(SITE, {})
    own.standing(SITE, {"network": {"name": "licenses"}})
    with pytest.raises(NodeFault, match="offers it no more"):
        own.standing(SITE, {"network": {"name": "mirror"}})
    monkeypatch.setattr(own, "reach", lambda site: Reach(fault="stale"))
    with pytest.raises(NodeFault, match="stale"):
        own.standing(SITE, {"network": {"name": "licenses"}})


# -- dockerd ---------------------------------------------------------------------------------------


class Dockerd:
    """Its networks, and what it answers to a create."""

    def __init__(self) -> None:
        self.networks: list[dict[str, Any]] = []
        self.overlaps: set[str] = set()  # subnets of which it says that others have them
        self.posted: list[dict[str, Any]] = []

    async def value(self, method: str, path: str, query: Any = None, body: Any = None) -> tuple[int, Any]:
        await asyncio.sleep(0)
        if method == "POST":
            self.posted.append(body)
            if body["IPAM"]["Config"][0]["Subnet"] in self.overlaps:
                return 403, {"message": "invalid pool request: Pool overlaps with other one on this address space"}
            self.networks.append({**body, "Id": "x"})
            return 201, {"Id": "x"}
        name = path.rpartition("/")[2]
        if name == "networks":
            return 200, self.networks
        found = [one for one in self.networks if one["Name"] == name]
        return (200, found[0]) if found else (404, {"message": f"network {name} not found"})


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(jobs, "networks", lambda key: str(tmp_path / "networks"))
    return lambda dockerd: own.joined(cast(Upstream, dockerd), SITE, job_of(), "licenses")


def test_a_job_gets_a_part_of_the_pool_once(joined: Any, tmp_path: Path) -> None:
    dockerd = Dockerd()

    async def both() -> list[own.Joined]:
        return list(await asyncio.gather(joined(dockerd), joined(dockerd)))

    first, second = asyncio.run(both())
    assert first == second and first.subnet == "198.18.0.0/24" and len(dockerd.posted) == 1
    note = json.loads((tmp_path / "networks" / "licenses").read_text())
    assert note == {"bridge": first.bridge, "name": first.name}


def test_a_part_that_another_has_is_passed_over(joined: Any) -> None:
    dockerd = Dockerd()
    dockerd.networks = [{"Name": "x", "IPAM": {"Config": [{"Subnet": "198.18.0.0/23"}]}}, {"Name": "none"}]
    dockerd.overlaps = {"198.18.2.0/24"}
    assert asyncio.run(joined(dockerd)).subnet == "198.18.3.0/24"


@pytest.mark.parametrize(
    "changes",
    [
        {"Labels": {}}, {"Driver": "macvlan"}, {"Options": {}}, {"EnableIPv6": True}, {"IPAM": {"Config": []}},
        {"IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]}},
    ],
    ids=str,
)  # fmt: skip
def test_a_network_that_is_not_as_it_was_made_is_not_joined(joined: Any, changes: dict[str, Any]) -> None:
    dockerd = Dockerd()
    asyncio.run(joined(dockerd))
    dockerd.networks[0].update(changes)
    with pytest.raises(NodeFault, match="is not as it was made"):
        asyncio.run(joined(dockerd))


# -- the read-back ---------------------------------------------------------------------------------

ASKED = {"HostConfig.NetworkMode": "x", "network": {"name": "licenses", "subnet": "198.18.3.0/24"}}
ROUTES = (
    ("eth0", "0.0.0.0", "198.18.3.1", "0.0.0.0"),
    ("eth0", "198.18.3.0", "0.0.0.0", "255.255.255.0"),
)
JOINED = Links(frozenset({"lo", "eth0", "tunl0"}), ROUTES, frozenset({"lo"}))


def test_a_container_of_a_network_has_its_interface_and_nothing_else() -> None:
    assert knob.verify(replace(GOOD, links=JOINED), JOB, ASKED) == []


@pytest.mark.parametrize(
    ("links", "words"),
    [
        (Links(), "it lacks the interface eth0"),
        (replace(JOINED, interfaces=frozenset({"lo", "eth0", "eth1"})), "it has the interface eth1"),
        (replace(JOINED, routes=ROUTES[:1]), "its routes are"),
        (replace(JOINED, routes=(*ROUTES, ("eth0", "10.0.0.0", "198.18.3.9", "255.0.0.0"))), "its routes are"),
        (
            replace(JOINED, routes=tuple((n, t.replace("18.3", "18.4"), g, m) for n, t, g, m in ROUTES)),
            "its routes are",
        ),
        (replace(JOINED, ipv6=frozenset({"lo", "eth0"})), "it has an IPv6 address on eth0"),
    ],
)
def test_what_differs_is_told(links: Links, words: str) -> None:
    assert any(words in one for one in knob.verify(replace(GOOD, links=links), JOB, ASKED))

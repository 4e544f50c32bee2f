# SPDX-License-Identifier: Apache-2.0
"""[network.NAME] of the site: what it may list, what the bridges are called."""

from __future__ import annotations

import msgspec
import pytest

from slurm_hooks import bridges
from tests.unit.test_settings import site


def reach(*lines: str, name: str = "licenses", more: str = "") -> str:
    return f"[network.{name}]\nreach = {list(lines)!r}\n{more}"


def test_a_name_an_address_a_range_and_a_network_are_services() -> None:
    found = site(reach("License.Example.ORG:27000/tcp", "10.1.2.3:5000-5010/tcp", "10.0.0.0/24:53/udp")).network
    assert [(one.host, str(one.network), one.port, one.protocol) for one in found["licenses"].services] == [
        ("license.example.org", "None", "27000", "tcp"),
        ("", "10.1.2.3/32", "5000-5010", "tcp"),
        ("", "10.0.0.0/24", "53", "udp"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("host.example", "not HOST:PORT/tcp"),
        ("host.example:80", "not HOST:PORT/tcp"),
        ("host.example:80/icmp", "not HOST:PORT/tcp"),
        ("host example:80/tcp", "not HOST:PORT/tcp"),
        ("host.example:80/tcp\n", "not HOST:PORT/tcp"),
        ("host.example:0/tcp", "a port is 1 to 65535"),
        ("host.example:65536/tcp", "a port is 1 to 65535"),
        ("host.example:20-10/tcp", "begins with the smaller one"),
        ("{ }:80/tcp", "not HOST:PORT/tcp"),
        ("a..b:80/tcp", "not a host's name"),
        ("-a.b:80/tcp", "not a host's name"),
        ("a_b.c:80/tcp", "not a host's name"),
        ("localhost:80/tcp", "not a host's name"),
        ("10.0.0.1/24:80/tcp", "has host bits set"),
        ("10.0.0:80/tcp", "Expected 4 octets"),
        ("127.0.0.1:80/tcp", "touches 127.0.0.0/8"),
        ("169.254.169.254:80/tcp", "touches 169.254.0.0/16"),
        ("0.0.0.0/0:80/tcp", "touches 0.0.0.0/8"),
        ("160.0.0.0/3:80/tcp", "touches 169.254.0.0/16"),
        ("224.0.0.251:5353/udp", "touches 224.0.0.0/4"),
        ("255.255.255.255:67/udp", "touches 240.0.0.0/4"),
        ("198.18.0.2:7000/tcp", "touches 198.18.0.0/15"),
        ("198.0.0.0/8:80/tcp", "touches 198.18.0.0/15"),
        ("[2001:db8::1]:80/tcp", "IPv6 is not there in a restricted network"),
        ("2001:db8::1:80/tcp", "IPv6 is not there in a restricted network"),
    ],
)
def test_what_cannot_be_a_service_is_refused_in_words(line: str, words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        site(reach(line))


@pytest.mark.parametrize("name", ["none", "default", "bridge", "host", "container", "Upper", "a-b", "9a", "a" * 21])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        site(reach("10.0.0.1:1/tcp", name=name))


def test_a_network_that_lists_nothing_or_one_thing_twice_is_refused() -> None:
    for lines in ((), ("10.0.0.1:1/tcp", "10.0.0.1:1/tcp")):
        with pytest.raises(msgspec.ValidationError):
            site(reach(*lines))


@pytest.mark.parametrize("pool", ["127.0.0.0/8", "10.0.0.1/8", "10.0.0.0/7", "10.0.0.0/25", "fd00::/8", "pool"])
def test_a_pool_is_a_network_that_hosts_may_have(pool: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        site(f"[docker]\npool = '{pool}'")


def test_a_partition_has_the_sites_networks() -> None:
    own = site(reach("10.0.0.1:1/tcp", more="[partition.a]\npids = 100"), "a")
    assert list(own.network) == ["licenses"]


def test_two_names_with_one_prefix_are_refused() -> None:
    first, other = _alike()
    with pytest.raises(msgspec.ValidationError, match="would be called alike"):
        site(reach("10.0.0.1:1/tcp", name=first) + reach("10.0.0.1:1/tcp", name=other))


def _alike() -> tuple[str, str]:
    seen: dict[str, str] = {}
    for number in range(100_000):
        name = f"n{number}"
        if (prefix := bridges.prefix(name)) in seen:
            return seen[prefix], name
        seen[prefix] = name
    raise AssertionError("sixteen bits do not collide?")


@pytest.mark.parametrize("job", [1, 4711, 67_108_863, 99_999_999, 100_000_000, 2**32 - 1])
def test_a_bridge_is_told_by_its_name(job: int) -> None:
    name = bridges.name("licenses", job)
    assert len(name) <= 15 and name.startswith(bridges.prefix("licenses"))
    assert bridges.job_of(name) == job and bridges.is_jobs(name, job) and not bridges.is_jobs(name, job + 1)


@pytest.mark.parametrize("name", ["eth0", "shn", "shn1a2b", "shnXXXX12", "shm1a2b12", "shn1a2b12x", "docker0", "lo"])
def test_what_is_not_ours_is_nobodys(name: str) -> None:
    assert bridges.job_of(name) is None

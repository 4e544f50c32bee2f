# SPDX-License-Identifier: Apache-2.0
"""The rules of the restricted networks, as text for `nft -f`. Pure.

Two tables of our own, each written anew as a whole, in one transaction. All that is matched is ours by the name of its
bridge (bridges.py), or by an address of our pool; what is not ours passes as it did.

    inet forward     from a bridge of ours: the services of its network, all else refused
                     to one: answers of these services, all else refused
    inet input       from one: refused. So no address of the node is reached, its metadata or IPv6 neither
    inet output      to one: refused, so that nobody on the node reaches into another job's container
    inet postrouting what leaves has the node's address
    bridge forward   frames between containers: dropped, also where bridge-nf-call-iptables is 0

A service is matched in each packet, and not by the connection alone: what stood while somebody had flushed the rules
ends with their return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from slurm_hooks.bridges import OURS, prefix
from slurm_hooks.services import NEVER

TABLE = "slurm_hooks"
NFT = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")  # where distributions have the program
TABLES = (f"inet {TABLE}", f"bridge {TABLE}")
ANY = f'"{OURS}*"'
# At once, instead of a client that waits: connect(2) is EHOSTUNREACH.
REFUSE = "reject with icmpx type admin-prohibited"


@dataclass(frozen=True, slots=True)
class Open:
    """A service whose addresses are known."""

    addresses: tuple[IPv4Network, ...]
    port: str
    protocol: str


def removed() -> str:
    """Both tables go, whether they are there or not: a table that is named is made."""
    return "".join(f"table {table}\ndelete table {table}\n" for table in TABLES)


def ruleset(networks: Mapping[str, Sequence[Open]], pool: IPv4Network, *, by_bridge: bool) -> str:
    """The whole of it.

    Args:
        networks: a site's network → what it reaches; what has no address yet is not in it.
        pool: of the containers' addresses.
        by_bridge: the kernel tells a frame's bridge (NFT_BRIDGE_META, Linux 5.4). Else frames are known by addresses
            of the pool; a container can send no others, it has no CAP_NET_RAW and no IPv6.
    """
    never = ", ".join(str(network) for network in (*NEVER, pool))
    lines = [
        f"table inet {TABLE} {{",
        "chain forward {",
        "type filter hook forward priority filter; policy accept;",
        f"iifname {ANY} jump from_jobs",
        f"oifname {ANY} jump to_jobs",
        "}",
        "chain from_jobs {",
        f"oifname {ANY} {REFUSE}",
        f"ip saddr != {pool} {REFUSE}",
        f"ip daddr {{ {never} }} {REFUSE}",
        *(f'iifname "{prefix(name)}*" jump from_{name}' for name in networks),
        REFUSE,
        "}",
        "chain to_jobs {",
        # Of a connection that is allowed: fragmentation needed, port unreachable.
        "meta l4proto icmp ct state related accept",
        *(f'oifname "{prefix(name)}*" jump to_{name}' for name in networks),
        "drop",
        "}",
        "chain input {",
        "type filter hook input priority filter; policy accept;",
        f"iifname {ANY} {REFUSE}",
        "}",
        "chain output {",
        "type filter hook output priority filter; policy accept;",
        # The kernel's own words of a refusal, of which our rules make some.
        f"oifname {ANY} icmp type destination-unreachable accept",
        f"oifname {ANY} drop",
        "}",
        "chain postrouting {",
        "type nat hook postrouting priority srcnat; policy accept;",
        f"ip saddr {pool} oifname != {ANY} masquerade",
        "}",
    ]
    for name, services in networks.items():
        lines += [f"chain from_{name} {{", *(f"{_match(one, 'daddr', 'dport')} accept" for one in services), "}"]
        reply = "ct direction reply ct state established accept"
        lines += [f"chain to_{name} {{", *(f"{_match(one, 'saddr', 'sport')} {reply}" for one in services), "}"]
    lines += [
        "}",
        f"table bridge {TABLE} {{",
        "chain forward {",
        "type filter hook forward priority filter; policy accept;",
        *([f"meta ibrname {ANY} drop"] if by_bridge else []),
        # By one end alone: broadcasts and multicast have but the sender's.
        f"ip saddr {pool} drop",
        f"ip daddr {pool} drop",
        f"arp saddr ip {pool} drop",
        "}",
        "}",
    ]
    return removed() + "\n".join([*lines, ""])


def _match(service: Open, address: str, port: str) -> str:
    among = ", ".join(map(str, service.addresses))
    return f"ip {address} {{ {among} }} {service.protocol} {port} {service.port}"

# SPDX-License-Identifier: Apache-2.0
"""A service that a restricted network reaches, as the site writes it: `license.example.org:27000/tcp`. Pure.

What can never be one: the node's loopback, link-local addresses (the metadata service of clouds, 169.254.169.254, is
one), multicast and broadcast, and addresses of the containers themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

PATTERN = re.compile(r"(?P<host>[^:\s]+):(?P<first>[0-9]{1,5})(-(?P<last>[0-9]{1,5}))?/(?P<protocol>tcp|udp)")
HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
# IANA's IPv4 special-purpose registry: this network, loopback, link-local, multicast, reserved and broadcast.
NEVER = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")))


@dataclass(frozen=True, slots=True)
class Service:
    """Where it listens."""

    text: str  # as the site has it
    host: str  # a name; "": it is `network`
    network: IPv4Network | None  # an address is one of 32 bits
    ports: tuple[int, int]  # from, to
    protocol: str  # tcp, udp

    @property
    def port(self) -> str:
        """As nft reads it: 80, 5000-5010."""
        first, last = self.ports
        return str(first) if first == last else f"{first}-{last}"


def parsed(text: str) -> Service:
    """A line of `reach`. Raises ValueError, in words that name it."""
    if text.startswith("[") or re.fullmatch(r"[0-9a-fA-F:]*::[0-9a-fA-F:]*(/[0-9]+)?(:[0-9-]+)?/(tcp|udp)", text):
        raise ValueError(f"{text}: IPv6 is not there in a restricted network; name an IPv4 address")
    found = PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text}: not HOST:PORT/tcp or HOST:PORT/udp")
    ports = (int(found["first"]), int(found["last"] or found["first"]))
    if not 1 <= ports[0] <= ports[1] <= 65_535:
        raise ValueError(f"{text}: a port is 1 to 65535, and a range begins with the smaller one")
    host, network = found["host"].lower(), None
    if re.fullmatch(r"[0-9./]+", host):
        try:
            network, host = IPv4Network(host), ""
        except (AddressValueError, NetmaskValueError, ValueError) as error:
            raise ValueError(f"{text}: {error}") from None
        if why := barred(network):
            raise ValueError(f"{text}: {why}")
    elif not HOST.fullmatch(host) or host == "localhost" or host.endswith(".localhost"):
        raise ValueError(f"{text}: not a host's name that can be reached")
    return Service(text, host, network, ports, found["protocol"])


def barred(network: IPv4Network, others: Iterable[IPv4Network] = ()) -> str:
    """Why it can be no service: "", or what of it overlaps."""
    for never in (*NEVER, *others):
        if network.overlaps(never):
            return f"{network} touches {never}, which no container reaches"
    return ""


def address(text: str) -> IPv4Network:
    """An address as a network of its own. Raises ValueError."""
    return IPv4Network(IPv4Address(text))

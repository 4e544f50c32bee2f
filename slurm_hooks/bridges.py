# SPDX-License-Identifier: Apache-2.0
"""What the bridge of a job's restricted network is called. The rules of the firewall go by the beginning of it.

    shn  1a2b           4711
    ours the network's  the job's

An interface's name has at most 15 characters (IFNAMSIZ, less the NUL). So static rules hold for bridges that are not
there yet: nothing has to be told to the firewall when a job begins, and nothing is forgotten when one ends.
"""

from __future__ import annotations

import binascii
import fcntl
import os
import re
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

OURS = "shn"  # no other interface of the node begins with it
# Four hexadecimal digits of the network's name: settings refuse two names that have the same.
PATTERN = re.compile(rf"{OURS}[0-9a-f]{{4}}((?P<short>[0-9]{{1,8}})|x(?P<long>[0-9a-z]{{6,7}}))")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LINKS = "/sys/class/net"
OPTION = "com.docker.network.bridge.name"  # of a network of dockerd's: what its bridge is called
SIOCSIFFLAGS, SIOCBRDELBR = 0x8914, 0x89A1  # linux/sockios.h


def prefix(network: str) -> str:
    """With which the bridges of a site's network begin."""
    return f"{OURS}{binascii.crc32(network.encode()) & 0xFFFF:04x}"


def name(network: str, job: int) -> str:
    """The bridge of a job's own network."""
    return prefix(network) + _of(job)


def is_jobs(interface: str, job: int) -> bool:
    """Is it a bridge of that job, of whatever network?"""
    return job_of(interface) == job


def job_of(interface: str) -> int | None:
    """The job whose bridge it is; None: it is none of ours."""
    found = PATTERN.fullmatch(interface)
    if found is None:
        return None
    return int(found["long"], len(DIGITS)) if found["long"] else int(found["short"])


def of_job(job: int, links: str = LINKS) -> list[str]:
    """The bridges of a job that are on the node."""
    return sorted(name for name in os.listdir(links) if is_jobs(name, job))


def every(links: str = LINKS) -> dict[str, int]:
    """All bridges of ours that are on the node → their jobs."""
    found = ((name, job_of(name)) for name in os.listdir(links))
    return {name: job for name, job in found if job is not None}


def of_networks(networks: Iterable[Mapping[str, Any]]) -> set[str]:
    """The bridges of networks, as dockerd lists these."""
    return {str((network.get("Options") or {}).get(OPTION)) for network in networks}


def remove(name: str) -> None:
    """Take a bridge down and away, by the ioctls that brctl(8) has used. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
        fcntl.ioctl(any_socket, SIOCBRDELBR, name.encode() + b"\0")


def _of(job: int) -> str:
    """In at most 8 characters. Slurm counts to 67 million (MaxJobId); a federation's ids have ten digits."""
    if job < 100_000_000:
        return str(job)
    text = ""
    while job:
        job, digit = divmod(job, len(DIGITS))
        text = DIGITS[digit] + text
    return f"x{text}"

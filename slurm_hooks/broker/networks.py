# SPDX-License-Identifier: Apache-2.0
"""A job's own part of a restricted network: a bridge of dockerd's, made when the job first asks for it.

Its rules are there already: they go by the bridge's name (bridges.py, firewall.py), and the broker, which has no right
to touch a network, sees in networks.json that they are. A note in the job's record tells the Epilog of it before
dockerd hears of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from slurm_hooks import bridges, config, jobs, linux
from slurm_hooks.broker.relay import Upstream, message_of
from slurm_hooks.errors import NodeFault
from slurm_hooks.knobs import network as knob
from slurm_hooks.knobs.contract import Reach
from slurm_hooks.knobs.process import LABEL_JOB
from slurm_hooks.settings import OF_JOB, Settings

FRESH_SECONDS = 300.0  # ten runs of the timer
TRIES = 16  # subnets, where dockerd says that one is another network's
MAKING = asyncio.Lock()  # two creates of a job make one network, and two jobs do not take one subnet
OPTIONS = {
    "com.docker.network.bridge.enable_icc": "false",
    "com.docker.network.bridge.enable_ip_masquerade": "false",  # that is the firewall's
}


@dataclass(frozen=True, slots=True)
class Joined:
    """A job's own docker network."""

    name: str  # dockerd's
    bridge: str
    subnet: str


def reach(site: Settings, path: str = config.NETWORKS) -> Reach:
    """What `slurm-hooks networks` says that stands, or why nobody may join one."""
    if not site.network:
        return Reach(fault="this site offers none")
    try:
        said = json.loads(linux.read(path))
        age = time.time() - float(said["at"])
        hosts = {
            name: {one["host"]: tuple(one["addresses"]) for one in services if one["host"]}
            for name, services in said["networks"].items()
        }
        fault = str(said["fault"])
        if not fault and said["pool"] != site.docker.pool:
            fault = "docker.pool was changed, and the rules are the old ones"
    except FileNotFoundError:
        return Reach(fault="slurm-hooks networks has not run on this node")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Reach(fault=f"{path} cannot be read")
    if not fault and not -FRESH_SECONDS < age < FRESH_SECONDS:
        fault = f"slurm-hooks networks has last run {age:.0f} s ago"
    return Reach(fault, hosts)


def unresolved(path: str = config.NETWORKS) -> tuple[str, ...]:
    """What networks.json says of names that are not as they should be."""
    try:
        all_ = json.loads(linux.read(path))["networks"].values()
        return tuple(dict.fromkeys(str(one["fault"]) for services in all_ for one in services if one["fault"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ()


def standing(site: Settings, note_asked: dict[str, Any]) -> None:
    """For a container that is to be started (again). Raises NodeFault where its rules are not known to stand."""
    if "network" in note_asked:
        now = reach(site)
        if fault := now.fault or ("" if note_asked["network"]["name"] in now.hosts else "this site offers it no more"):
            raise NodeFault("docker start", f"the firewall of its network is not known to stand ({fault})", knob.TELL)


async def joined(up: Upstream, site: Settings, job: jobs.Job, network: str) -> Joined:
    """The job's own docker network, made where it is not there yet. Raises NodeFault, OSError."""
    name, bridge = knob.docker_name(job.key, network), bridges.name(network, job.id)
    async with MAKING:
        status, found = await up.value("GET", f"/networks/{name}")
        if status == 404:
            _note(job, network, name, bridge)
            await _made(up, site, job, network, name, bridge)
            status, found = await up.value("GET", f"/networks/{name}")
    if status != 200:
        raise _fault(network, message_of(found))
    subnet, options = _subnet_of(found), found.get("Options") or {}
    wrong = (
        (found.get("Labels") or {}).get(LABEL_JOB) != job.key
        or found.get("Driver") != "bridge"
        or any(options.get(one) != value for one, value in {**OPTIONS, bridges.OPTION: bridge}.items())
        or found.get("EnableIPv6")
        or subnet is None
        or not subnet.subnet_of(site.docker.addresses)
    )
    if wrong:
        raise _fault(network, f"dockerd's network {name} is not as it was made")
    return Joined(name, bridge, str(subnet))


async def _made(up: Upstream, site: Settings, job: jobs.Job, network: str, name: str, bridge: str) -> None:
    status, there = await up.value("GET", "/networks")
    if status != 200:
        raise _fault(network, message_of(there))
    said = ""
    for subnet in _free(site.docker.addresses, there)[:TRIES]:
        status, answer = await up.value("POST", "/networks/create", body=_body(job, name, bridge, subnet))
        if status == 201 or status == 409:  # 409: a broker before us, which serves its streams to their end
            return
        said = message_of(answer)
        if "overlap" not in said.lower():
            break
    raise _fault(network, said or "the pool is used up")


def _body(job: jobs.Job, name: str, bridge: str, subnet: IPv4Network) -> dict[str, Any]:
    return {
        "Name": name,
        "CheckDuplicate": True,  # dockerd before 25 makes a second of that name otherwise
        "Driver": "bridge",
        "EnableIPv6": False,
        "Internal": False,
        "Attachable": False,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]},
        "Options": {**OPTIONS, bridges.OPTION: bridge},
        "Labels": {LABEL_JOB: job.key},
    }


def _free(pool: IPv4Network, there: Iterable[dict[str, Any]]) -> list[IPv4Network]:
    """Parts of the pool that no network of dockerd's has, the lowest first."""
    used = [subnet for network in there if (subnet := _subnet_of(network)) and subnet.overlaps(pool)]
    return [one for one in pool.subnets(new_prefix=OF_JOB) if not any(one.overlaps(other) for other in used)]


def _subnet_of(network: dict[str, Any]) -> IPv4Network | None:
    """The one IPv4 subnet of a network."""
    found = [one.get("Subnet", "") for one in (network.get("IPAM") or {}).get("Config") or ()]
    try:
        return IPv4Network(found[0]) if len(found) == 1 else None
    except ValueError:
        return None


def _note(job: jobs.Job, network: str, name: str, bridge: str) -> None:
    directory = jobs.networks(job.key)
    os.makedirs(directory, 0o700, exist_ok=True)
    linux.replace(f"{directory}/{network}", json.dumps({"bridge": bridge, "name": name}))


def _fault(network: str, why: str) -> NodeFault:
    return NodeFault(f"--network {network}", f"it cannot be made ({why or 'dockerd does not say why'})", knob.TELL)

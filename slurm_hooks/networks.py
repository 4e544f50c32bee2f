# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks networks`: the firewall of the site's restricted networks. Its timer runs it, each half minute.

Names are resolved, the rules are written where they differ from what stands, and /run/slurm-hooks/networks.json says
what stands. The broker, which has no network and no right to touch one, reads that, and lets nobody join a network
whose rules are not known to stand.

    name resolves          its addresses are kept for an hour after the resolver last gave them
    name does not          the last good ones are kept, as long as it takes; that is told
    to what never can be   left out, and told: loopback, link-local, the node's own, …
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from typing import Any

from slurm_hooks import bridges, config, events, firewall, linux
from slurm_hooks.errors import HooksError, NodeFault, one_line
from slurm_hooks.firewall import NFT
from slurm_hooks.services import Service, address, barred
from slurm_hooks.settings import Settings

NFT_SECONDS = 15.0
RESOLVE_SECONDS = 10.0  # for all names together
KEPT_SECONDS = 3600.0  # an address, after the resolver last gave it: of names that change their addresses in turn
MOST = 64  # addresses of a name


@dataclass
class Reached:
    """A service, and where it is."""

    service: str  # as the site has it
    host: str
    addresses: dict[str, float] = field(default_factory=dict)  # → when the resolver last gave it, in s since 1970
    fault: str = ""  # why not all is as it should be

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Reached:
        return cls(**said)


@dataclass
class State:
    """networks.json."""

    at: float = 0.0  # when the rules were last known to stand, in s since 1970
    pool: str = ""
    fault: str = ""  # why they do not
    networks: dict[str, list[Reached]] = field(default_factory=dict)
    wanted: str = ""  # a digest of the rules that were written
    stands: str = ""  # of what nft lists of them

    @classmethod
    def load(cls, path: str) -> State:
        """What the last run left; an empty one where there is none, or it is damaged."""
        try:
            said = json.loads(linux.read(path))
            said["networks"] = {name: [Reached.of(one) for one in all_] for name, all_ in said["networks"].items()}
            return cls(**said)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()


def main(*, dry_run: bool, as_json: bool, path: str = config.NETWORKS) -> int:
    """Do it and print it; 1 where the rules do not stand. Raises HooksError."""
    if os.geteuid() != 0:
        raise HooksError("networks", "it needs root", "Its timer runs it: slurm-hooks-networks.timer.")
    site = config.load(keep=False)
    before = State.load(path)
    state = State(before.at, site.docker.pool, networks=resolved(site, before), stands=before.stands)
    # What the site offers no more is refused to the jobs that have it still.
    needed = bool(site.network or bridges.every())
    if dry_run:
        print(rules(site, state, by_bridge=True) if needed else firewall.removed(), end="")
        return 0
    said = "no restricted network is offered, and no rule of ours is there"
    try:
        if needed:
            said = "as they stood" if stand(site, state, before) else "written"
        else:
            _forgotten(path)
            if _nft() and _listed():
                _written(firewall.removed())
                said = "no restricted network is offered, and the rules are removed"
        state.at = time.time()
        if site.network and not _forwards():
            state.fault = "net.ipv4.ip_forward is 0 on this node, so nothing is reached"
    except NodeFault as error:
        state.fault = str(error)
    if needed:
        linux.replace(path, json.dumps(asdict(state)), 0o644)
    _told(state, before, said, as_json=as_json)
    return int(bool(state.fault))


def _forgotten(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _told(state: State, before: State, said: str, *, as_json: bool) -> None:
    if state.fault != before.fault or said == "written":
        events.record("networks", why=state.fault, rules="" if state.fault else said)
    if as_json:
        print(json.dumps(asdict(state) | {"said": said}, indent=2))
        return
    for name, all_ in state.networks.items():
        for one in all_:
            where = f" at {', '.join(one.addresses)}" if one.host and one.addresses else ""
            print(one_line(f"{name}: {one.service}{where}{f' ({one.fault})' if one.fault else ''}"))
    print(f"slurm-hooks networks: {state.fault or said}")


# -- names -----------------------------------------------------------------------------------------


def resolved(site: Settings, before: State) -> dict[str, list[Reached]]:
    """Each service with its addresses: asked now, or as they were last known."""
    wanted = {name: network.services for name, network in site.network.items()}
    answers = _asked({one.host for services in wanted.values() for one in services if one.host})
    others = [site.docker.addresses, *map(address, own_addresses())]
    known: dict[str, dict[str, float]] = {}
    for all_ in before.networks.values():
        for one in all_:
            known.setdefault(one.host, {}).update(one.addresses)
    return {
        name: [reached(one, answers.get(one.host), known.get(one.host, {}), others, time.time()) for one in services]
        for name, services in wanted.items()
    }


def reached(
    service: Service,
    answer: Sequence[str] | str | None,
    known: Mapping[str, float],
    others: Iterable[IPv4Network],
    now: float,
) -> Reached:
    """What is made of an answer.

    Args:
        answer: addresses, or why there are none.
        known: addresses from before → when the resolver last gave them.
        others: what is never reached, beside services.NEVER.
    """
    if service.network is not None:
        plain = str(service.network).removesuffix("/32")
        return Reached(service.text, "", {plain: now})
    if isinstance(answer, str) or not answer:
        kept = ", the last known addresses are kept" if known else ", and no address is known"
        return Reached(service.text, service.host, dict(known), f"{service.host}: {answer or 'no address'}{kept}")
    others = tuple(others)
    bad = [one for one in dict.fromkeys(answer) if barred(address(one), others)]
    fresh = dict.fromkeys((one for one in sorted(set(answer)) if one not in bad), now)
    kept_ = {one: at for one, at in known.items() if now - at < KEPT_SECONDS and not barred(address(one), others)}
    found = dict(list((kept_ | fresh).items())[-MOST:])
    fault = f"{service.host} is {', '.join(bad)} as well, which no container reaches" if bad else ""
    return Reached(service.text, service.host, found, fault)


def _asked(hosts: Iterable[str]) -> dict[str, Sequence[str] | str]:
    """Host → its IPv4 addresses, or why there are none. All at once, and no longer than the deadline."""
    answers: dict[str, Sequence[str] | str] = {}

    def ask(host: str) -> None:
        try:
            found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
            answers[host] = [str(one[4][0]) for one in found]
        except (OSError, UnicodeError) as error:
            answers[host] = getattr(error, "strerror", None) or str(error)

    # Daemons: a resolver that hangs does not hold the program.
    threads = {host: threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + RESOLVE_SECONDS
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    return {host: answers.get(host, f"no answer in {RESOLVE_SECONDS:.0f} s") for host in threads}


def own_addresses(path: str = "/proc/net/fib_trie") -> list[str]:
    """The node's own, of any interface: what the kernel's table has as LOCAL (net/ipv4/fib_trie.c)."""
    found, last = set(), ""
    try:
        lines = linux.read(path).splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[-1:] == ["LOCAL"] and words[0] == "/32":
            found.add(last)
    return sorted(found)


# -- rules -----------------------------------------------------------------------------------------


def rules(site: Settings, state: State, *, by_bridge: bool) -> str:
    """For nft -f."""
    networks = {
        name: [
            firewall.Open(tuple(sorted(map(IPv4Network, one.addresses))), service.port, service.protocol)
            for service, one in zip(network.services, state.networks[name], strict=True)
            if one.addresses
        ]
        for name, network in site.network.items()
    }
    return firewall.ruleset(networks, site.docker.addresses, by_bridge=by_bridge)


def stand(site: Settings, state: State, before: State) -> bool:
    """See to it that the rules stand; did they already? Raises NodeFault."""
    text, without = (rules(site, state, by_bridge=known) for known in (True, False))
    if before.wanted in (_digest(text), _digest(without)) and before.stands and _digest(_listed()) == before.stands:
        state.wanted, state.stands = before.wanted, before.stands
        return True
    try:
        _written(text)
    except NodeFault:
        text = without
        _written(text)
    state.wanted, state.stands = _digest(text), _digest(_listed())
    return False


def _forwards() -> bool:
    try:
        return linux.read("/proc/sys/net/ipv4/ip_forward").strip() == "1"
    except OSError:
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _nft() -> str:
    return next((path for path in NFT if os.access(path, os.X_OK)), "")


def _listed() -> str:
    """What stands of ours, as nft prints it; "" where a table is missing. Raises NodeFault."""
    parts = []
    for table in firewall.TABLES:
        done = _run(("list", "table", *table.split()))
        if done.returncode != 0:
            return ""
        parts.append(done.stdout)
    return "".join(parts)


def _written(text: str) -> None:
    done = _run(("-f", "-"), text)
    if done.returncode != 0:
        first = done.stderr.strip().partition("\n")[0].rpartition("Error: ")[2]
        raise NodeFault(
            "nft", one_line(first)[:200] or f"exit {done.returncode}", "The kernel needs nftables for inet and bridge."
        )


def _run(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    program = _nft()
    if not program:
        raise NodeFault("nft", "it is not on this node", "Install the package nftables.")
    try:
        return subprocess.run(
            (program, *arguments), input=text, capture_output=True, text=True, timeout=NFT_SECONDS, check=False,
            env={"LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NodeFault("nft", str(error)) from None

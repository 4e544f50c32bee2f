# SPDX-License-Identifier: Apache-2.0
"""No network: a namespace of its own with loopback alone; or one of the site's restricted networks, by name.

Stops: data that leaves the cluster's private network, attacks on the node's and neighbours' services, metadata
addresses. A restricted network ([network.NAME] of the site) reaches the services that it lists and nothing else: not
the node, not another container, of the job's own neither; IPv4 only. The names of what it lists are in /etc/hosts;
dockerd's resolver asks a server that the rules refuse, so no other name is resolved, and none carries data out.
Costs: nothing inside can download; fetch before, in the job script.
Docker: --network, --expose; ports (-p, -P), --link, --dns, --dns-option, --dns-search, --add-host, --mac-address
need more of a network than a job's container has, so they are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network

from slurm_hooks.errors import NodeFault, Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Links, Row, Seen, Units, owned
from slurm_hooks.knobs.node import NETWORKS, Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

MODE = "HostConfig.NetworkMode"
DISABLED = "NetworkDisabled"
ENDPOINT = "NetworkingConfig.EndpointsConfig{}"
ALONE = "a job's container has no network but its own loopback"
ROWS = (
    Row(MODE, "force", f"{ALONE}, unless it names one that the site offers", "none"),
    Row("NetworkingConfig", "drop", "names `none`, `default`, `bridge`, or the same as --network; another is refused"),
    Row(ENDPOINT, "deny", "addresses and aliases need a network", todo="Leave --ip and --network-alias out."),
    Row(DISABLED, "drop", "without a network it changes nothing"),
    Row("ExposedPorts", "drop", "without a network it changes nothing"),
    Row("HostConfig.PortBindings", "deny", ALONE),
    Row("HostConfig.PublishAllPorts", "deny", ALONE),
    Row("HostConfig.Dns", "deny", ALONE),
    Row("HostConfig.DnsOptions", "deny", ALONE),
    Row("HostConfig.DnsSearch", "deny", ALONE),
    Row("HostConfig.ExtraHosts", "deny", ALONE),
    Row("HostConfig.Links", "deny", ALONE, todo="Let containers of a job share a directory: -v."),
    Row("MacAddress", "deny", ALONE),
)
OWNS = owned(ROWS)
# `default` is what the CLI sends when nothing was typed, `bridge` what older clients send for the same.
NONE = ("none", "default", "bridge")
TELL = "Tell the operators."
PREFIX = "slurm-hooks-"
# RFC 5737: nobody's. dockerd's resolver asks it from the container's own namespace (moby, libnetwork/resolver.go),
# where the rules refuse it at once. With no server of ours it would take the node's own, or public ones.
NO_SERVER = "192.0.2.1"
# With NetworkDisabled the runtime makes the namespace (it is in moby's oci.DefaultSpec) and its loopback, and dockerd
# starts no libnetwork-setkey, a second dockerd that is almost half of a container's start. hosts is ours then, with
# what dockerd writes there for a container without a network.
HOSTS = "/etc/hosts"
LOOPBACK = b"""127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
# Interfaces that the kernel makes in each new namespace once a tunnel's module is loaded; they are down.
# (net.core.fb_tunnels_only_for_init_net)
IDLE = frozenset({
    "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0",
})  # fmt: skip


def docker_name(key: str, network: str) -> str:
    """What a job's own part of a site's network is called in dockerd; `none` is that for all."""
    return network if network in NONE else f"{PREFIX}{key}-{network}"


def stale(warning: str) -> bool:
    """Is it what dockerd says of forwarding, which it looked at when it started? networks.json tells what holds."""
    return "IPv4 forwarding is disabled" in warning


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    mode = units.get(MODE, "none")
    joins = mode if mode in site.network else ""
    if mode not in NONE and not joins:
        raise Refused(f"--network {mode}", ALONE, _todo(site))
    endpoints = (units.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    known = {*NONE, joins}
    if set(units.get("NetworkingConfig", {})) - {"EndpointsConfig"} or set(endpoints) - known:
        raise Refused("--network", "a job's container joins no network", "Leave it out.")
    for name, settings in endpoints.items():
        if any((settings or {}).values()):
            raise Refused(
                f"--network {name}", "addresses and aliases need a network", "Leave --ip and --network-alias out."
            )
    return _joining(joins, job) if joins else Confinement({MODE: "none", DISABLED: True})


def _todo(site: Settings) -> str:
    if not site.network:
        return "Leave it out, and do in the job script what needs the network."
    return f"Leave it out, or name what the site offers: {', '.join(sorted(site.network))}."


def _joining(network: str, job: JobFacts) -> Confinement:
    hosts: Mapping[str, tuple[str, ...]] = {}
    if job.reach is not None:
        if job.reach.fault:
            raise NodeFault(f"--network {network}", f"its firewall is not known to stand ({job.reach.fault})", TELL)
        if network not in job.reach.hosts:
            raise NodeFault(
                f"--network {network}",
                "its firewall does not stand yet",
                "Try again in a minute, or tell the operators.",
            )
        hosts = job.reach.hosts[network]
    return Confinement(
        {
            MODE: docker_name(job.key, network),
            "HostConfig.ExtraHosts": [f"{name}:{one}" for name, found in hosts.items() for one in found],
            "HostConfig.Dns": [NO_SERVER],
            "HostConfig.DnsSearch": ["."],
            "HostConfig.DnsOptions": ["timeout:1", "attempts:1"],
        },
        network=network,
    )


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    if seen.namespaces["net"] == seen.host_namespaces["net"]:
        return ["it shares the node's network"]
    subnet = (asked.get("network") or {}).get("subnet", "")
    return [*_differs(seen.links, IPv4Network(subnet) if subnet else None)]


def _differs(links: Links, subnet: IPv4Network | None) -> Iterable[str]:
    """What is there beside loopback, and the one interface of the network that was asked for."""
    own = {"lo"} if subnet is None else {"lo", "eth0"}
    if found := links.interfaces - own - IDLE:
        yield f"it has the interface {', '.join(sorted(found))}"
    if missing := own - links.interfaces:
        yield f"it lacks the interface {', '.join(sorted(missing))}"
    wanted = set()
    if subnet is not None:
        wanted.add(("eth0", "0.0.0.0", str(subnet[1]), "0.0.0.0"))
        wanted.add(("eth0", str(subnet.network_address), "0.0.0.0", str(subnet.netmask)))
    if set(links.routes) != wanted:
        routes = ", ".join(f"{to}/{mask} by {name} {gateway}" for name, to, gateway, mask in links.routes)
        yield f"its routes are {routes or 'none'}, not those of {subnet or 'no network'}"
    if found := links.ipv6 - {"lo"}:
        yield f"it has an IPv6 address on {', '.join(sorted(found))}"


def check(node: Node) -> Iterable[Finding]:
    if node.site.network:
        yield from _offered(node)
    options = node.dockerd.options
    if not options:
        return
    if options.get("bridge") != "none":
        yield Finding(
            "bridge", "weak", "network", "the jobs' dockerd has a network of its own, docker0",
            "no job gets it, but nothing needs it: dockerd changes the node's routing and firewall for it",
            in_dockerd(node, "bridge"),
        )  # fmt: skip
        if options.get("icc", True):
            yield Finding(
                "icc", "weak", "network", "containers on docker0 may speak with each other",
                "what an operator starts there is open to all the others", in_dockerd(node, "icc"),
            )  # fmt: skip
    if options.get("userland-proxy", True):
        yield Finding(
            "userland-proxy", "weak", "network", "dockerd would start docker-proxy for a published port",
            "a program that listens on the node as root; no job may publish a port",
            in_dockerd(node, "userland-proxy"),
        )  # fmt: skip
    if ((node.info.get("Swarm") or {}).get("LocalNodeState") or "inactive") != "inactive":
        yield Finding(
            "swarm", "wrong", "network", "the jobs' dockerd is in a swarm",
            "whoever manages the swarm starts what they want on this node, as root",
            f"Run: docker -H unix://{node.site.docker.socket} swarm leave --force.",
        )  # fmt: skip


def _offered(node: Node) -> Iterable[Finding]:
    """What a site needs that offers restricted networks. Until it is there nobody joins one."""
    if not node.nft:
        yield Finding(
            "network-nft", "wrong", "network", "restricted networks are offered, and nft is not on the node",
            "each container that asks for one is refused", "Install the package nftables.",
        )  # fmt: skip
    elif node.sysctls.get("net.ipv4.ip_forward", "1") != "1":
        yield Finding(
            "network-forward", "wrong", "network", "restricted networks are offered, and the node forwards nothing",
            "each container that asks for one is refused",
            "Run: sysctl -w net.ipv4.ip_forward=1, and put it into /etc/sysctl.d.",
        )  # fmt: skip
    elif node.firewall:
        yield Finding(
            "network-rules", "wrong", "network", f"restricted networks' rules are not known to stand: {node.firewall}",
            "each container that asks for one is refused, and one that runs may have no rules",
            "Run: slurm-hooks networks.",
        )  # fmt: skip
    if node.units and node.units.get(NETWORKS, {}).get("UnitFileState") != "enabled":
        yield Finding(
            "network-timer", "weak", "network", f"restricted networks are offered, and {NETWORKS} is not enabled",
            "after a reboot each container that asks for one is refused", f"Run: systemctl enable --now {NETWORKS}.",
        )  # fmt: skip
    if node.unresolved:
        yield Finding(
            "network-name", "weak", "network", "; ".join(node.unresolved),
            "what a network lists under that name is reached at its last known addresses, or not at all",
            "Mend the name in [network], or the node's resolver; then run: slurm-hooks networks.",
        )  # fmt: skip

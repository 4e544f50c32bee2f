# SPDX-License-Identifier: Apache-2.0
"""No network: a namespace of its own with loopback alone.

Stops: data that leaves the cluster's private network, attacks on the node's and
neighbours' services, metadata addresses.
Costs: nothing inside can download; fetch before, in the job script.
Docker: --network, --expose; ports (-p, -P), --link, --dns, --dns-option, --dns-search, --add-host, --mac-address
need one, so they are refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, owned
from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.settings import Settings

ENDPOINT = "NetworkingConfig.EndpointsConfig{}"
ALONE = "a job's container has no network but its own loopback"
ROWS = (
    Row("HostConfig.NetworkMode", "force", ALONE, "none"),
    Row("NetworkingConfig", "drop", "names `none`, `default` or `bridge`; another is refused"),
    Row(ENDPOINT, "deny", "addresses and aliases need a network", todo="Leave --ip and --network-alias out."),
    Row("NetworkDisabled", "drop", "without a network it changes nothing"),
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


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    mode = units.get("HostConfig.NetworkMode", "none")
    if mode not in NONE:
        raise Refused(
            f"--network {mode}", ALONE,
            "Leave it out, and do in the job script what needs the network.",
        )  # fmt: skip
    endpoints = (units.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    if set(units.get("NetworkingConfig", {})) - {"EndpointsConfig"} or set(endpoints) - set(NONE):
        raise Refused("--network", "a job's container joins no network", "Leave it out.")
    for name, settings in endpoints.items():
        if any((settings or {}).values()):
            raise Refused(
                f"--network {name}", "addresses and aliases need a network", "Leave --ip and --network-alias out."
            )
    return Confinement({"HostConfig.NetworkMode": "none"})


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    return ["it shares the node's network"] if seen.namespaces["net"] == seen.host_namespaces["net"] else []


def check(node: Node) -> Iterable[Finding]:
    options = node.dockerd.options
    if not options:
        return
    if options.get("bridge") != "none":
        yield Finding(
            "bridge", "weak", "network", "the jobs' dockerd has a network of its own, docker0",
            "no job gets it, but nothing needs it: dockerd changes the node's routing and firewall for it",
            in_dockerd(node, '"bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false'),
        )  # fmt: skip
        if options.get("icc", True):
            yield Finding(
                "icc", "weak", "network", "containers on docker0 may speak with each other",
                "what an operator starts there is open to all the others", in_dockerd(node, '"icc": false'),
            )  # fmt: skip
    if options.get("userland-proxy", True):
        yield Finding(
            "userland-proxy", "weak", "network", "dockerd would start docker-proxy for a published port",
            "a program that listens on the node as root; no job may publish a port",
            in_dockerd(node, '"userland-proxy": false'),
        )  # fmt: skip
    if ((node.info.get("Swarm") or {}).get("LocalNodeState") or "inactive") != "inactive":
        yield Finding(
            "swarm", "wrong", "network", "the jobs' dockerd is in a swarm",
            "whoever manages the swarm starts what they want on this node, as root",
            f"Run: docker -H unix://{node.site.docker.socket} swarm leave --force.",
        )  # fmt: skip

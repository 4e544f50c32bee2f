# SPDX-License-Identifier: Apache-2.0
"""What a job sees of dockerd's answers: its own containers, by the names and paths that it gave. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slurm_hooks.knobs import network, seccomp

HIDDEN = ""  # the source of a mount of our own, which the user did not ask for


def prefix(job: int, restart: int) -> str:
    """What a container's name begins with in dockerd, where jobs must not collide."""
    return f"slurm-{job}-{restart}."


def inspected(
    container: dict[str, Any], name_prefix: str, sources: Mapping[str, str], readonly: Iterable[str] = ()
) -> dict[str, Any]:
    """GET /containers/{id}/json: the job's name, the user's own mount sources, the filter's name for the filter.

    Args:
        sources: staged path → what the user typed.
        readonly: staged paths that are read-only, of which dockerd knows nothing.
    """
    seen = dict(container)
    if isinstance(seen.get("Name"), str):
        seen["Name"] = _own_name(seen["Name"], name_prefix)
    _map_mounts(seen, sources, readonly)
    host = seen.get("HostConfig")
    if isinstance(host, dict):
        seen["HostConfig"] = host = dict(host)
        if isinstance(host.get("Mounts"), list):
            host["Mounts"] = _own_sources(host["Mounts"], sources, readonly)
        if isinstance(host.get("SecurityOpt"), list):
            host["SecurityOpt"] = [_named(option) for option in host["SecurityOpt"]]
    return seen


def listed(
    containers: list[dict[str, Any]], name_prefix: str, sources: Mapping[str, str], readonly: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """GET /containers/json, likewise."""
    seen = []
    for container in containers:
        one = dict(container)
        one["Names"] = [_own_name(name, name_prefix) for name in one.get("Names") or []]
        _map_mounts(one, sources, readonly)
        seen.append(one)
    return seen


def of_image(container: dict[str, Any], typed: Mapping[str, str]) -> dict[str, Any]:
    """A container, of the list or inspected, with its image as the user typed it: it was made of the image's id.

    Args:
        typed: container id → image.
    """
    image = typed.get(str(container.get("Id")))
    if image is None:
        return container
    if isinstance(container.get("Config"), dict):
        return {**container, "Config": {**container["Config"], "Image": image}}
    return {**container, "Image": image} if "ImageID" in container else container


def message(text: str, name_prefix: str) -> str:
    """dockerd's words without our prefix."""
    return text.replace(name_prefix, "")


def event(said: Any, name_prefix: str) -> Any:
    """A line of GET /events, whose attributes have the container's name, and its old one after a rename."""
    actor = said.get("Actor") if isinstance(said, dict) else None
    attributes = actor.get("Attributes") if isinstance(actor, dict) else None
    if not isinstance(actor, dict) or not isinstance(attributes, dict):
        return said
    named = {key: message(attributes[key], name_prefix) for key in ("name", "oldName") if key in attributes}
    return {**said, "Actor": {**actor, "Attributes": {**attributes, **named}}}


def stats(said: Any, name_prefix: str) -> Any:
    """A line of GET /containers/{id}/stats."""
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return said
    return {**said, "name": message(said["name"], name_prefix)}


# What a job has of networks: the one that has none. Its id is of our own making.
NETWORK: dict[str, Any] = {
    "Name": "none", "Id": "0" * 64, "Created": "1970-01-01T00:00:00Z", "Scope": "local", "Driver": "null",
    "EnableIPv4": False, "EnableIPv6": False, "IPAM": {"Driver": "default", "Options": None, "Config": []},
    "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
    "Containers": {}, "Options": {}, "Labels": {},
}  # fmt: skip


# A container's part in it, which dockerd does not tell of: the runtime made its namespace.
PART: dict[str, Any] = {
    "NetworkID": NETWORK["Id"], "EndpointID": "", "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "",
    "DriverOpts": None, "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
}  # fmt: skip


def offered(names: Iterable[str]) -> list[dict[str, Any]]:
    """What there is of networks: `none`, and what the site offers by name."""
    others = [NETWORK | {"Name": name, "Id": f"{number:064x}", "Driver": "bridge", "EnableIPv4": True}
              for number, name in enumerate(sorted(names), 1)]  # fmt: skip
    return [NETWORK, *others]


def networks(asked: Mapping[str, list[str]], names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """GET /networks, filtered; a filter that does not name something of one does not find it."""
    found = []
    for one in offered(names):
        kind = "builtin" if one is NETWORK else "custom"
        says = {"name": one["Name"], "id": one["Id"], "driver": one["Driver"], "scope": "local", "type": kind}
        if all(any(value in says.get(name, "") for value in values) for name, values in asked.items()):
            found.append(one)
    return found


def joined(container: dict[str, Any], key: str) -> dict[str, Any]:
    """A container, of the list or inspected, with its network as the site calls it."""
    mine = network.docker_name(key, "")
    host, settings = container.get("HostConfig"), container.get("NetworkSettings")
    seen = dict(container)
    if isinstance(host, dict) and isinstance(host.get("NetworkMode"), str):
        seen["HostConfig"] = {**host, "NetworkMode": host["NetworkMode"].removeprefix(mine)}
    if isinstance(settings, dict) and isinstance(settings.get("Networks"), dict):
        named = {name.removeprefix(mine): one for name, one in settings["Networks"].items()} or {"none": PART}
        seen["NetworkSettings"] = {**settings, "Networks": named}
    return seen


def in_one_of(container: Mapping[str, Any], wanted: Iterable[str] | None) -> bool:
    """Is a container, with its networks as the site calls them, in one of these names or ids? None: in any."""
    if wanted is None:
        return True
    parts = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return not {*parts, *(part.get("NetworkID") for part in parts.values())}.isdisjoint(wanted)


def _own_name(name: str, name_prefix: str) -> str:
    return f"/{name.removeprefix('/').removeprefix(name_prefix)}"


def _map_mounts(container: dict[str, Any], sources: Mapping[str, str], readonly: Iterable[str]) -> None:
    if isinstance(container.get("Mounts"), list):
        container["Mounts"] = _own_sources(container["Mounts"], sources, readonly)


def _named(option: Any) -> Any:
    """A profile is 12 KB of JSON."""
    return f"seccomp={seccomp.NAME}" if isinstance(option, str) and option.startswith("seccomp={") else option


def _own_sources(mounts: list[Any], sources: Mapping[str, str], readonly: Iterable[str]) -> list[Any]:
    """Of a container's `Mounts`, which say `RW`, or its HostConfig's, which say `ReadOnly`."""
    seen = []
    for mount in mounts:
        typed = sources.get(str(mount.get("Source"))) if isinstance(mount, dict) else None
        if typed is None:
            seen.append(mount)
        elif typed != HIDDEN:
            held = {"RW": False} if "RW" in mount else {"ReadOnly": True}
            seen.append({**mount, "Source": typed, **(held if mount["Source"] in readonly else {})})
    return seen

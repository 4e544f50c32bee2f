# SPDX-License-Identifier: Apache-2.0
"""What a job sees of dockerd's answers: its own containers, by the names and paths that it gave. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def prefix(job: int, restart: int) -> str:
    """What a container's name begins with in dockerd, where jobs must not collide."""
    return f"slurm-{job}-{restart}."


def inspected(container: dict[str, Any], name_prefix: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """GET /containers/{id}/json: the job's name, the user's own mount sources."""
    seen = dict(container)
    if isinstance(seen.get("Name"), str):
        seen["Name"] = _own_name(seen["Name"], name_prefix)
    _map_mounts(seen, sources)
    host = seen.get("HostConfig")
    if isinstance(host, dict) and isinstance(host.get("Mounts"), list):
        seen["HostConfig"] = {**host, "Mounts": [_own_source(mount, sources) for mount in host["Mounts"]]}
    return seen


def listed(containers: list[dict[str, Any]], name_prefix: str, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """GET /containers/json, likewise."""
    seen = []
    for container in containers:
        one = dict(container)
        one["Names"] = [_own_name(name, name_prefix) for name in one.get("Names") or []]
        _map_mounts(one, sources)
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


def filters_for(job_key: str, asked: Any, name_prefix: str, label: str) -> dict[str, list[str]]:
    """The filters of `docker ps --filter`, in both spellings of moby, with the job's label forced."""
    rebuilt: dict[str, list[str]] = {}
    for name, values in asked.items() if isinstance(asked, dict) else ():
        chosen = [key for key, on in values.items() if on] if isinstance(values, dict) else values
        if isinstance(chosen, list) and all(isinstance(value, str) for value in chosen):
            rebuilt[str(name)] = [_own_filter(str(name), value, name_prefix) for value in chosen]
    rebuilt["label"] = [*rebuilt.get("label", []), f"{label}={job_key}"]
    return rebuilt


def _own_filter(name: str, value: str, name_prefix: str) -> str:
    # moby matches names as an expression, anchored by the user with ^/ or ^ if at all.
    if name != "name" or not value.startswith("^"):
        return value
    return f"^/?{re.escape(name_prefix)}{value.lstrip('^').lstrip('/')}"


def _own_name(name: str, name_prefix: str) -> str:
    return f"/{name.removeprefix('/').removeprefix(name_prefix)}"


def _map_mounts(container: dict[str, Any], sources: Mapping[str, str]) -> None:
    if isinstance(container.get("Mounts"), list):
        container["Mounts"] = [_own_source(mount, sources) for mount in container["Mounts"]]


def _own_source(mount: Any, sources: Mapping[str, str]) -> Any:
    if isinstance(mount, dict) and mount.get("Source") in sources:
        return {**mount, "Source": sources[mount["Source"]]}
    return mount

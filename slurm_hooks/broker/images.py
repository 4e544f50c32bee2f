# SPDX-License-Identifier: Apache-2.0
"""The node's images as a job sees them: those that it may run, each resolved once, to its id."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from slurm_hooks import config
from slurm_hooks.broker.relay import Upstream, message_of
from slurm_hooks.errors import NodeFault, NotFound, Refused
from slurm_hooks.knobs import images
from slurm_hooks.settings import Settings

USED = f"{config.RUN}/images"  # an empty file for each image: its mtime is the last use


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the node, at the moment it was looked at."""

    id: str  # sha256:…
    names: tuple[str, ...] = ()
    size: int = 0  # bytes, unpacked
    volumes: tuple[str, ...] = ()  # VOLUMEs
    directory: str = ""  # WORKDIR
    raw: dict[str, Any] = field(default_factory=dict)  # dockerd's own words


async def look(up: Upstream, name: str) -> Image | None:
    """The image of that name or id; None: there is none. Raises Refused where it is no name, NodeFault."""
    if not images.ID.fullmatch(name):
        images.parse(name)  # it becomes a part of a path
    status, said = await up.value("GET", f"/images/{name}/json")
    if status == 404:
        return None
    if status != 200:
        raise NodeFault(f"image {name}", message_of(said))
    made = said.get("Config") or {}
    return Image(
        said["Id"],
        names_of(said),
        int(said.get("Size") or 0),
        tuple(sorted(made.get("Volumes") or {})),
        made.get("WorkingDir") or "",
        said,
    )


def admitted(found: Image | None, site: Settings, name: str) -> Image:
    """The image that a container is to be made of. Raises NotFound in moby's words, Refused."""
    if found is None:
        raise absent(name)
    if not images.admits(found.names, site):
        raise Refused(f"image {name}", "not one that the site lets jobs run", "See what `docker images` lists.")
    used(found.id)
    return found


async def inspected(up: Upstream, site: Settings, name: str) -> Any:
    """GET /images/{name}/json: one that the job may run. Raises NotFound, alike for others; Refused, NodeFault."""
    found = await look(up, name)
    if found is None or not images.admits(found.names, site):
        raise absent(name)
    return found.raw


async def listed(up: Upstream, site: Settings, query: dict[str, str]) -> tuple[int, Any]:
    """GET /images/json: (status, the images that a job may run). Raises NodeFault."""
    status, said = await up.value("GET", "/images/json", query)
    if status != 200:
        return status, said
    return status, [one for one in said if images.admits(names_of(one), site)]


def absent(name: str) -> NotFound:
    """The docker CLI pulls when it reads the status; moby's words name the tag."""
    bare = images.ID.fullmatch(name) or "@" in name or ":" in name.rpartition("/")[2]
    return NotFound(f"No such image: {name if bare else f'{name}:latest'}")


def used(image: str) -> None:
    """An image is used now. Raises nothing: the cache then takes it for older than it is."""
    try:
        os.makedirs(USED, 0o700, exist_ok=True)
        path = f"{USED}/{image.removeprefix('sha256:')}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.utime(path)
    except OSError:
        pass


def last_use(image: str) -> float:
    """Seconds since 1970; 0: not since the node's boot."""
    try:
        return os.stat(f"{USED}/{image.removeprefix('sha256:')}").st_mtime
    except OSError:
        return 0.0


def forget(image: str) -> None:
    """An image is gone."""
    try:
        os.unlink(f"{USED}/{image.removeprefix('sha256:')}")
    except OSError:
        pass


def names_of(said: dict[str, Any]) -> tuple[str, ...]:
    """The tags and digests of an image, as dockerd lists or inspects it."""
    return (*(said.get("RepoTags") or ()), *(said.get("RepoDigests") or ()))

# SPDX-License-Identifier: Apache-2.0
"""The jobs' images have a bound on the disk: above it, those that were not used for longest go.

Never one that a container is made of, running or not, nor one that the site keeps. dockerd has the last word: a name
is taken away without force, and it does not remove the image of a container that was made meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slurm_hooks import events
from slurm_hooks.broker import images
from slurm_hooks.broker.relay import Upstream
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs import images as policy
from slurm_hooks.settings import Settings

GIGABYTE = 1_000_000_000
GROWN = asyncio.Event()  # something was pulled: the keeper is to look


@dataclass(frozen=True, slots=True)
class Cached:
    """An image that may go."""

    used: float  # last, seconds since 1970
    id: str
    names: tuple[str, ...]  # that are to be taken away for it to go


async def evict(up: Upstream, site: Settings) -> list[str]:
    """Bring the cache below its bound as far as that goes; the ids that went. Raises NodeFault."""
    bound = int(site.images.cache_gigabytes * GIGABYTE)
    gone: list[str] = []
    if not bound:
        return gone
    before = await size(up)
    if before <= bound:
        return gone
    for image in await candidates(up, site):
        if await size(up) <= bound:
            break
        if image.id not in await in_use(up) and await _removed(up, image):
            gone.append(image.id)
            images.forget(image.id)
    after = await size(up)
    events.record("evict", images=[image.removeprefix("sha256:")[:12] for image in gone], before=before, after=after)
    return gone


async def size(up: Upstream) -> int:
    """Bytes of all images, a shared layer once. Raises NodeFault."""
    # Of images alone from 1.42 on; before, dockerd measures containers and volumes too.
    _, said = await up.value("GET", "/system/df", {"type": "image"} if up.version >= (1, 42) else None)
    return int((said or {}).get("LayersSize") or 0)


async def in_use(up: Upstream) -> set[str]:
    """The ids of images that containers are made of, in whatever state. Raises NodeFault."""
    status, said = await up.value("GET", "/containers/json", {"all": "1"})
    if status != 200:
        raise HooksError("dockerd", "did not list its containers")
    return {str(container["ImageID"]) for container in said}


async def candidates(up: Upstream, site: Settings) -> list[Cached]:
    """What may go, the one that was not used for longest first. Raises NodeFault."""
    status, listed = await up.value("GET", "/images/json")
    taken = await in_use(up)
    found = []
    for one in listed if status == 200 else ():
        image = str(one["Id"])
        names = tuple(name for name in images.names_of(one) if "<none>" not in name)
        if image in taken or policy.matches(names, site.images.keep):
            continue
        found.append(Cached(images.last_use(image) or await _came(up, image), image, names))
    return sorted(found, key=lambda cached: cached.used)


async def _came(up: Upstream, image: str) -> float:
    """When an image that was not used since the node's boot was pulled or tagged, seconds since 1970."""
    _, said = await up.value("GET", f"/images/{image}/json")
    try:
        when: Any = said["Metadata"]["LastTagTime"]
        return datetime.fromisoformat(when[:19] + "+00:00").timestamp()
    except (TypeError, KeyError, ValueError):
        return 0.0


async def _removed(up: Upstream, image: Cached) -> bool:
    # A digest goes with the last tag of its repository, so its answer may be 404.
    for name in image.names or (image.id,):
        status, _ = await up.value("DELETE", f"/images/{name}")
        if status not in (200, 404):
            return False
    return True

# SPDX-License-Identifier: Apache-2.0
"""Where the layers of an image or a container lie on the node, and where a container's root is mounted.

Of images in moby's own store (overlay2) dockerd tells it. With containerd's store, which new installations have
since Docker 29, it tells the store's name alone, and containerd is asked, through ctr(8): a container is a snapshot
of its id; an image is a committed one, called by the hash of its layers (OCI image-spec, config.md: ChainID), which
only a view shows. A view keeps an image's layers on the disk, so it is removed at once; its name is the image's, so
one that a killed broker left is found by the next look.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from itertools import product
from typing import Any

from slurm_hooks import tasks
from slurm_hooks.broker.relay import Upstream, message_of
from slurm_hooks.errors import NodeFault

GRAPH, SNAPSHOTS = "overlay2", "overlayfs"
CONTAINERDS = "/var/lib/containerd"  # its root, unless its config.toml has another
SECONDS = 20.0  # for containerd's answer
# dockerd's namespaces in containerd: as shipped, and as it comes. Both names are hashes: no other has the same.
NAMESPACES = ("slurm-jobs", "moby")
# One broker, one dockerd: the place that answered comes first.
_places = list(product((socket for _, socket in tasks.STATES), NAMESPACES))
_looks = asyncio.Lock()


async def of_image(said: Mapping[str, Any]) -> list[str]:
    """The directories of an image's layers, upmost first; none: they cannot be looked into. Raises NodeFault.

    Args:
        said: dockerd's GET /images/{name}/json.
    """
    if store_of(said) != SNAPSHOTS:
        return stacked(said)
    layers = (said.get("RootFS") or {}).get("Layers") or []
    if not layers:
        return []
    chain = chain_id(layers)
    view = f"slurm-hooks-look-{chain.partition(':')[2]}"
    async with _looks:
        for _ in range(2):
            text = await _snapshots("view", "--mounts", view, chain)
            await _snapshots("rm", view)
            if text:
                return overlaid(json.loads(text))
    return []


async def of_container(said: Mapping[str, Any]) -> list[str]:
    """The same of a container, by dockerd's GET /containers/{id}/json. Raises NodeFault, also where there are none."""
    if store_of(said) != SNAPSHOTS:
        found = stacked(said)
    else:
        # As mount(8) would be told: mount -t overlay overlay / -o OPTIONS
        words = (await _snapshots("mounts", "/", str(said["Id"]))).split()
        found = overlaid([{"Options": words[-1].split(",")}]) if words else []
    if len(found) < 2:  # its own, and the image's
        raise NodeFault(
            "the jobs' dockerd", f"it keeps images in a store that cannot be looked into ({store_of(said)})",
            "Give it overlay2 and \"features\": {\"containerd-snapshotter\": false} in slurm-jobs.json.",
        )  # fmt: skip
    return found


async def root_of(up: Upstream, said: Mapping[str, Any]) -> str:
    """Where the container's root is mounted while it runs. Raises NodeFault."""
    if store_of(said) != SNAPSHOTS:
        return str(said["GraphDriver"]["Data"].get("MergedDir") or "")
    status, info = await up.value("GET", "/info")
    if status != 200:
        raise NodeFault("the jobs' dockerd", f"it does not say where its data are ({message_of(info)})")
    return f"{info['DockerRootDir']}/rootfs/{SNAPSHOTS}/{said['Id']}"


async def unpacked_at(up: Upstream, data_root: str) -> str:
    """Where on the node pulled images are unpacked. Raises NodeFault."""
    _, info = await up.value("GET", "/info")
    return CONTAINERDS if (info or {}).get("Driver") == SNAPSHOTS else data_root


def store_of(said: Mapping[str, Any]) -> str:
    """The store of an image or a container, by its inspect: "overlay2", "overlayfs", another."""
    if driver := said.get("GraphDriver"):
        return str(driver.get("Name"))
    storage = (said.get("Storage") or {}).get("RootFS") or {}  # from API 1.52 on, where it is containerd's
    return str((storage.get("Snapshot") or {}).get("Name"))


def stacked(said: Mapping[str, Any]) -> list[str]:
    """The directories that overlay2 lays over each other for a container or an image, upmost first; none: another."""
    driver = said.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    if driver.get("Name") != GRAPH or not data.get("UpperDir"):
        return []
    return [data["UpperDir"], *filter(None, (data.get("LowerDir") or "").split(":"))]


def overlaid(mounts: list[Mapping[str, Any]]) -> list[str]:
    """The directories of containerd's mount of a snapshot, upmost first.

    One of a single layer is a bind mount; else upperdir, which a view has not, lies over lowerdir (fs/overlayfs).
    """
    found: list[str] = []
    for mount in mounts:
        if mount.get("Type") == "bind":
            found.append(str(mount["Source"]))
            continue
        options = dict(option.partition("=")[::2] for option in mount["Options"])
        found += [*filter(None, (options.get("upperdir"), *options.get("lowerdir", "").split(":")))]
    return found


def chain_id(layers: list[str]) -> str:
    """The name of an image's layers together: of the first its own digest, then of the name so far and the next."""
    chain = layers[0]
    for layer in layers[1:]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {layer}'.encode()).hexdigest()}"
    return chain


async def _snapshots(verb: str, *words: str) -> str:
    """What ctr(8) says; "": it knows no such snapshot. Raises NodeFault."""
    for place in list(_places):
        socket, namespace = place
        if not os.path.exists(socket):
            continue
        command = ("ctr", "--address", socket, "--namespace", namespace, "snapshots", "--snapshotter", SNAPSHOTS)
        try:
            run = await asyncio.create_subprocess_exec(
                *command, verb, *words,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/usr/sbin:/usr/local/bin"},
            )  # fmt: skip
        except OSError as error:
            raise NodeFault("the layers of the image", f"ctr, which comes with containerd: {error.strerror}") from None
        try:
            out, _ = await asyncio.wait_for(run.communicate(), SECONDS)
        except TimeoutError:
            run.kill()
            raise NodeFault("the layers of the image", f"containerd says nothing within {SECONDS:.0f} s") from None
        if run.returncode == 0:
            _places.remove(place)
            _places.insert(0, place)
            return out.decode()
    return ""

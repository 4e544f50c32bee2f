# SPDX-License-Identifier: Apache-2.0
"""Where layers lie, by what dockerd and containerd say: words of Docker 26.1, 28.5 and (API 1.52's pages) 29."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from slurm_hooks.broker import layers
from slurm_hooks.errors import NodeFault

TOP = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
ACTIVE = {
    "Type": "overlay",
    "Options": ["index=off", f"workdir={TOP}/3/work", f"upperdir={TOP}/3/fs", f"lowerdir={TOP}/2/fs:{TOP}/1/fs"],
}
VIEW = {"Type": "overlay", "Options": ["index=off", f"lowerdir={TOP}/2/fs:{TOP}/1/fs"]}
SINGLE = {"Type": "bind", "Source": f"{TOP}/1/fs", "Options": ["ro", "rbind"]}


@pytest.mark.parametrize(("mount", "numbers"), [(ACTIVE, "321"), (VIEW, "21"), (SINGLE, "1")])
def test_a_snapshots_layers_are_those_of_its_mount_upmost_first(mount: dict[str, Any], numbers: str) -> None:
    assert layers.overlaid([mount]) == [f"{TOP}/{number}/fs" for number in numbers]


def test_overlay2_tells_them_itself() -> None:
    data = {"UpperDir": "/a/diff", "LowerDir": "/b-init/diff:/c/diff", "MergedDir": "/a/merged"}
    said = {"GraphDriver": {"Name": "overlay2", "Data": data}}
    assert asyncio.run(layers.of_container(said)) == ["/a/diff", "/b-init/diff", "/c/diff"]
    assert asyncio.run(layers.of_image({"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/c"}}})) == ["/c"]


def test_the_name_of_layers_together_is_a_hash_of_hashes() -> None:
    one, two = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
    assert layers.chain_id([one]) == one
    assert layers.chain_id([one, two]) == f"sha256:{hashlib.sha256(f'{one} {two}'.encode()).hexdigest()}"
    assert layers.chain_id([one, two, one]) != layers.chain_id([one, one, two])


@pytest.mark.parametrize(
    ("said", "store"),
    [
        ({"GraphDriver": {"Name": "overlayfs", "Data": None}}, "overlayfs"),
        ({"Storage": {"RootFS": {"Snapshot": {"Name": "overlayfs"}}}}, "overlayfs"),
        ({"GraphDriver": {"Name": "vfs", "Data": None}}, "vfs"),
        ({}, "None"),
    ],
)
def test_the_store_is_what_inspect_calls_it(said: dict[str, Any], store: str) -> None:
    assert layers.store_of(said) == store


@pytest.mark.parametrize("said", [{}, {"GraphDriver": {"Name": "vfs", "Data": None}}])
def test_a_store_that_cannot_be_looked_into_closes_containers(said: dict[str, Any]) -> None:
    assert asyncio.run(layers.of_image(said)) == []
    with pytest.raises(NodeFault, match="overlay2"):
        asyncio.run(layers.of_container(said))


def test_a_container_that_containerd_does_not_know_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_places", [("/nowhere/containerd.sock", "moby")])
    with pytest.raises(NodeFault, match="overlayfs"):
        asyncio.run(layers.of_container({"GraphDriver": {"Name": "overlayfs"}, "Id": "1" * 64}))

# SPDX-License-Identifier: Apache-2.0
"""A container's figures in words: pure, the same for its user and for an operator."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def used(figures: Mapping[str, Any]) -> list[str]:
    """What of `cpu` (ms), `memory` (bytes, at most) and `pids` (at most) is known."""
    said = []
    if "cpu" in figures:
        said.append(f"CPU {figures['cpu'] / 1000:.1f} s")
    if "memory" in figures:
        said.append(f"peak {size(figures['memory'])}")
    if "pids" in figures:
        said.append(f"{figures['pids']} process{'es' * (figures['pids'] > 1)}")
    return said


def image(name: str) -> str:
    """An image as a person reads it: twelve characters of its digest, as docker itself shows ids."""
    name, at, digest = name.partition("@sha256:")
    return f"{name}{at}{digest[:12]}"


def size(number: int) -> str:
    """Bytes as a person reads them."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"

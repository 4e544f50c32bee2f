# SPDX-License-Identifier: Apache-2.0
"""Whom the jobs' dockerd makes of root inside: asked before each create of one, as dockerd may have changed."""

from __future__ import annotations

import asyncio
import grp
import pwd
import re

from slurm_hooks import linux
from slurm_hooks.broker.relay import Upstream, message_of
from slurm_hooks.errors import NodeFault, Refused, refused_by
from slurm_hooks.knobs import userns
from slurm_hooks.knobs.contract import Remap

SUBID_MIN = 100_000  # of shadow, where login.defs(5) says nothing


async def of(up: Upstream) -> Remap | None:
    """The remapped root; None: dockerd has no userns-remap. Raises Refused where it is somebody, NodeFault."""
    status, info = await up.value("GET", "/info")
    if status != 200:
        raise NodeFault("the jobs' dockerd", f"it does not say how it remaps root ({message_of(info)})")
    remap = userns.remap_of(info)
    if remap and (why := await asyncio.to_thread(_judged, remap)):
        with refused_by("userns"):
            raise Refused("--user 0 on this node", why, "Leave --user out, and tell the operators.")
    return remap


def _judged(remap: Remap) -> str:
    return userns.admit(remap, _lowest(), _user(remap.uid), _group(remap.gid))


def _lowest() -> tuple[int, int]:
    try:
        text = linux.read("/etc/login.defs")
    except OSError:
        text = ""
    said = dict(re.findall(r"^(SUB_[UG]ID_MIN)\s+(\d+)", text, re.MULTILINE))
    return int(said.get("SUB_UID_MIN", SUBID_MIN)), int(said.get("SUB_GID_MIN", SUBID_MIN))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""

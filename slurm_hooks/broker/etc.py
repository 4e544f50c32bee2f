# SPDX-License-Identifier: Apache-2.0
"""What a container finds in /etc, read-only: the job's user in passwd and group, its loopback in hosts.

passwd and group are the image's own with a line more. They are read in its layers, which are root's and do not change,
and written where the stages of the container are. Where the user mounts something there, or the image has a link, its
own stay as they are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from slurm_hooks import linux, stages
from slurm_hooks.broker.rootfs import Walk
from slurm_hooks.knobs import identity, mounts, network, selinux

if TYPE_CHECKING:
    from slurm_hooks.knobs.contract import JobFacts

PASSWD, GROUP = "/etc/passwd", "/etc/group"
MOST_BYTES = 1 << 20  # of an image's file
SCRATCH = "/tmp"


def write(
    layers: list[str],
    job: JobFacts,
    user: str,
    home: str,
    binds: Iterable[str],
    others: Iterable[str],
    *,
    alone: bool = True,
) -> dict[str, str]:
    """Write what is needed: target in the container → file. Raises OSError, Refused.

    Args:
        layers: of the image, upmost first; none: nothing is written.
        home: of the asking process, by its own word.
        binds, others: targets of the user's mounts, and of what else is mounted in the container.
        alone: it has no network, and so no hosts of dockerd's.
    """
    if not layers:
        return {}
    binds = tuple(binds)
    taken = (*binds, *others)
    place = home if mounts.below(f"{home}/", binds) else SCRATCH
    lines: dict[str, Callable[[bytes], bytes | None]] = {}
    if not job.remapped:  # root each image knows
        lines[PASSWD] = lambda text: identity.passwd(text, user, job.uid, job.gid, place)
        lines[GROUP] = lambda text: identity.group(text, user, job.gid)
    if alone:
        lines[network.HOSTS] = lambda _: network.LOOPBACK
    made = {}
    walk = Walk(layers)
    for target, made_of in lines.items():
        if target in taken or mounts.below(target, taken):
            continue
        text = _read(walk.file(target))
        wanted = None if text is None else made_of(text)
        if wanted is not None:
            top, name = stages.directory(job.key, job.nonce), os.path.basename(target)
            made[target] = stages.write(top, name, wanted, selinux.OWN_FILE if job.lsm == "selinux" else "")
    return made


def home_of(pid: int) -> str:
    """HOME of a process, "" where it cannot be read. A user's own word, and for this user's container alone."""
    try:
        environ = linux.read(f"/proc/{pid}/environ")
    except OSError:
        return ""
    said = next((pair[5:] for pair in environ.split("\0") if pair.startswith("HOME=")), "")
    return said.rstrip("/") if said.startswith("/") and said.isprintable() and ":" not in said else ""


def _read(path: str | None) -> bytes | None:
    """A file of a layer: b"" where there is none; None: it is not to be touched."""
    if not path:
        return None if path is None else b""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        facts = os.fstat(fd)
        return file.read() if stat.S_ISREG(facts.st_mode) and facts.st_size <= MOST_BYTES else None

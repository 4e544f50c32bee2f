# SPDX-License-Identifier: Apache-2.0
"""The broker's notes in a job's record: one file a container, there before dockerd hears of it.

    containers/<nonce>    {"id", "root", "name", "image", "created", "sources", "asked", "lost", "verified", "shim"}

Ownership of a container is a note in the asking job's record, nothing else.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from slurm_hooks import jobs, linux
from slurm_hooks.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Note:
    """A container of a job."""

    nonce: str
    name: str  # as the job knows it
    image: str
    id: str = ""  # "" until dockerd gave one
    root: str = ""  # where dockerd mounts its root, for the Epilog
    created: float = 0.0  # seconds since 1970
    sources: dict[str, str] = field(default_factory=dict)  # staged path → what the user typed
    asked: dict[str, Any] = field(default_factory=dict)  # fields that the read-back needs
    lost: bool = False  # its create was broken off, or dockerd has forgotten it: what there is of it, nobody knows
    verified: bool = True  # False from its create, or start, to the end of the read-back
    shim: int = 0  # the pid of containerd's shim, by the last read-back; 0: not known


def new_nonce() -> str:
    """128 bits, so that no image's label can guess it."""
    return secrets.token_hex(16)


def _path(job: jobs.Job, nonce: str) -> str:
    return f"{jobs.directory(job.key)}/containers/{nonce}"


def begin(job: jobs.Job, note: Note) -> None:
    """Write a new note to the disk. Raises OSError, which closes the launch: no note, no container."""
    fd = os.open(_path(job, note.nonce), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        data = json.dumps(asdict(note)).encode()
        if os.write(fd, data) != len(data):
            raise OSError(28, "the note was cut short")
        os.fsync(fd)
    finally:
        os.close(fd)


def amend(job: jobs.Job, note: Note, **changes: Any) -> Note:
    """Write a note anew with changes. Raises OSError."""
    changed = replace(note, **changes)
    linux.replace(_path(job, note.nonce), json.dumps(asdict(changed)))
    return changed


def rename(job: jobs.Job, note: Note, name: str) -> None:
    """Write a note anew under another name, unless it was dropped meanwhile. Raises OSError."""
    if os.path.exists(_path(job, note.nonce)):
        amend(job, note, name=name)


def lose(job: jobs.Job, note: Note) -> None:
    """Its create was broken off after dockerd may have heard of it, or dockerd lost it: the note stays, and its name
    is free. Raises OSError.

    The Epilog looks for containers where there is a note, so it is dropped with the container only.
    """
    amend(job, note, name="", lost=True)


def drop(key: str, nonce: str) -> None:
    """Forget a container that dockerd no longer has."""
    try:
        os.unlink(f"{jobs.directory(key)}/containers/{nonce}")
    except FileNotFoundError:
        pass


def of(job: jobs.Job) -> list[Note]:
    """The job's notes, oldest first; one that cannot be read is left to the Epilog."""
    found = []
    top = f"{jobs.directory(job.key)}/containers"
    for entry in os.scandir(top) if os.path.isdir(top) else ():
        if entry.name.endswith(linux.HALF):
            continue  # of a broker that was killed while it wrote: it would be a second note of the same container
        try:
            found.append(_read(entry))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda note: note.created)


# path → (inode, mtime) and what was read. Every request asks for its job's notes, and a note that changes is
# another file (linux.replace), so this is as fresh as the directory.
_known: dict[str, tuple[tuple[int, int], Note]] = {}
KNOWN = 10_000  # of jobs that have ended, most of them


def _read(entry: os.DirEntry[str]) -> Note:
    status = entry.stat(follow_symlinks=False)
    identity = (status.st_ino, status.st_mtime_ns)
    known = _known.get(entry.path)
    if known and known[0] == identity:
        return known[1]
    note = Note(**json.loads(linux.read(entry.path)))
    if len(_known) >= KNOWN:
        _known.clear()
    _known[entry.path] = identity, note
    return note


def at(job: jobs.Job, nonce: str) -> Note | None:
    """The note of that nonce."""
    return next((note for note in of(job) if note.nonce == nonce), None)


def find(job: jobs.Job, reference: str) -> Note:
    """The job's container of that name, id, or beginning of an id. Raises NotFound in moby's words."""
    mine = [note for note in of(job) if note.id]
    for note in mine:
        if reference in (note.id, note.name):
            return note
    beginning = [note for note in mine if note.id.startswith(reference)]
    if len(beginning) != 1:
        raise NotFound(f"No such container: {reference}")
    return beginning[0]


def taken(job: jobs.Job, wish: str) -> bool:
    """Has a container of the job that name?"""
    return any(note.name == wish.lstrip("/") for note in of(job))


def free_name(job: jobs.Job, wish: str, nonce: str) -> str:
    """The name for a new container. Raises Conflict in moby's words where the job has it already."""
    name = wish.lstrip("/") or f"c{nonce[:10]}"
    for note in of(job):
        if note.name == name:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{note.id}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
    return name


def now() -> float:
    """Seconds since 1970."""
    return time.time()

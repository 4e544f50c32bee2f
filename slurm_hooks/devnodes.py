# SPDX-License-Identifier: Apache-2.0
"""Device nodes, and the devices that they stand for: kind, major and minor number, as devices.allow writes them."""

from __future__ import annotations

import os
import stat

OWN_MOUNTS = ("hugepages", "mqueue", "pts", "shm")  # below a /dev: of users, and no node of a device in them but ptys


def numbers_of(facts: os.stat_result) -> str:
    """What a file stands for: "c 195:0"; empty for one that is no device node."""
    kind = "c" if stat.S_ISCHR(facts.st_mode) else "b" if stat.S_ISBLK(facts.st_mode) else ""
    return f"{kind} {os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}" if kind else ""


def of_process(pid: int) -> dict[str, str]:
    """The device nodes in the /dev that a process sees: path → "c 1:3". No link is followed. Raises OSError."""
    found: dict[str, str] = {}
    top = os.open(f"/proc/{pid}/root/dev", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for at, below, names, fd in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            if at == ".":
                below[:] = [name for name in below if name not in OWN_MOUNTS]
            for name in names:
                if numbers := numbers_of(os.stat(name, dir_fd=fd, follow_symlinks=False)):
                    found[os.path.normpath(f"/dev/{at}/{name}")] = numbers
    finally:
        os.close(top)
    return found

# SPDX-License-Identifier: Apache-2.0
"""A process in words, and which are our own. Where there is none, psutil's import is saved: 10 ms and more."""

from __future__ import annotations

import os
import sys
from typing import Any

from slurm_hooks import linux
from slurm_hooks.errors import one_line


def ourselves() -> set[int]:
    """This process and its ancestors: with PrologFlags=RunInJob they are in the job's cgroup."""
    psutil = _psutil()
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}


def described(pid: int) -> str:
    """`pid 4242 cat, state D in fuse_dev_do_write`; "" where it is gone or a zombie, which holds nothing."""
    psutil = _psutil()
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            name, status = process.name(), process.status()
    except psutil.NoSuchProcess:
        return ""
    if status == psutil.STATUS_ZOMBIE:
        return ""
    letter = {psutil.STATUS_DISK_SLEEP: "D", psutil.STATUS_STOPPED: "T", psutil.STATUS_TRACING_STOP: "t"}.get(
        status, status
    )
    try:
        place = linux.read(f"/proc/{pid}/wchan")
    except OSError:
        place = ""
    waits = f" in {place}" if place not in ("", "0") else ""
    return one_line(f"pid {pid} {name}, state {letter}{waits}")


def _psutil() -> Any:
    if sys.flags.no_site:  # a hook runs under -S, and what it needs here is the distribution's
        import site

        site.main()
    import psutil

    return psutil

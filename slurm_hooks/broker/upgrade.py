# SPDX-License-Identifier: Apache-2.0
"""An upgrade: the new broker takes the socket, and the old one serves its open streams to their end.

    systemctl reload ──SIGHUP▶ old    starts the program anew, as it now lies on the disk
                               new    renames its socket over the old one, tells systemd MAINPID
                               old    sees it, takes no more, ends with its last stream

An attached stream and a `docker wait` die with the process that holds them, so that process has to stay. It
ends by itself: a container ends with its job at the latest.
"""

from __future__ import annotations

import asyncio
import os
import sys

TAKEN_SECONDS = 30.0  # for the new one to take the socket
LOOK_SECONDS = 0.05


async def taken_over(path: str) -> bool:
    """Start the program anew and wait until the socket at `path` is another's; False: it did not come."""
    ours = os.stat(path).st_ino
    # Forked once more, it is nobody's child but systemd's, which can then supervise it as its main process.
    child = await asyncio.create_subprocess_exec("setsid", "--fork", *sys.argv)
    await child.wait()
    try:
        async with asyncio.timeout(TAKEN_SECONDS):
            while os.stat(path).st_ino == ours:
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return False
    return True

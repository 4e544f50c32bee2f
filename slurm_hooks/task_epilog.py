# SPDX-License-Identifier: Apache-2.0
"""Slurm's TaskEpilog, as the user, after a task: a short account of the job's containers, where it ran some.

slurmstepd gives a TaskEpilog /dev/null for its standard output, and the step's own standard error (24.11, seen):
so that is where the lines go, by a descriptor that etc/slurm/task_epilog.sh has made of it.
"""

from __future__ import annotations

import os

from slurm_hooks.task_prolog import asked, is_first_task, socket_path

OUTPUT = 3
SECONDS = 2.0  # the broker waits up to one for dockerd's word of the last container


def main() -> int:
    """Write the account; always 0."""
    if not is_first_task():
        return 0
    try:
        status, text = asked(socket_path(), "account", SECONDS)
        if status == 200 and text:
            os.write(OUTPUT, f"{text}\n".encode())
    except (OSError, ValueError):
        pass  # no broker, or nowhere to write to: the job is over all the same
    return 0

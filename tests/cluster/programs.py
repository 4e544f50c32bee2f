# SPDX-License-Identifier: Apache-2.0
"""A node with an image of programs that people run, from Debian's packages (tests/labs/programs.sh), for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.slurm import Cluster

ROOT = Path(__file__).parents[2]


@contextmanager
def with_programs(cluster: Cluster, name: str) -> Iterator[None]:
    """The image, under a name. It has 800 MB, so that a small node takes a minute for it."""
    built = subprocess.run([ROOT / "tests/labs/programs.sh"], stdout=subprocess.PIPE, text=True, check=True)
    shown = ROOT / f"build/programs-{os.getpid()}.tar"  # where the node sees it, under /src; each run has its own
    try:
        os.link(built.stdout.strip(), shown)
    except OSError:
        shutil.copy(built.stdout.strip(), shown)
    docker = "docker -H unix:///run/slurm-hooks-docker/docker.sock"
    try:
        cluster.must(cluster.node, f"{docker} import /src/build/{shown.name} {name}", timeout=600)
        yield
    finally:
        shown.unlink()
        cluster.sh(cluster.node, f"{docker} rmi {name}", timeout=120)

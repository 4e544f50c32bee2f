# SPDX-License-Identifier: Apache-2.0
"""A container that is removed leaves its name at once: scripts remove and run in one line.

Its place too: tests/cluster/test_refusals.py, in a site that allows one container.
"""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere

TIMES = 8


def test_a_name_is_free_as_soon_as_its_container_is_removed(cluster: Cluster, node: str) -> None:
    again = (
        "docker run -d --name again -v /home/ann:/x img sleep 60 >/dev/null && docker rm -f again >/dev/null || exit 1"
    )
    done = cluster.srun(f"for i in $(seq {TIMES}); do {again}; done; echo all", timeout=200)
    assert "all" in done.out.splitlines(), done

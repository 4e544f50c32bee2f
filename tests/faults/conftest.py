# SPDX-License-Identifier: Apache-2.0
"""The cluster is that of tests/cluster/."""

from __future__ import annotations

from tests.cluster.conftest import cluster

__all__ = ["cluster"]

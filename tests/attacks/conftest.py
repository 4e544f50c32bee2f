# SPDX-License-Identifier: Apache-2.0
"""The cluster of tests/cluster, and its idle, clean node."""

from tests.cluster.conftest import cluster, node

__all__ = ["cluster", "node"]

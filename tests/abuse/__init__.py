# SPDX-License-Identifier: Apache-2.0
"""Loads that one job puts on the broker, and what another job's `docker run` takes beside them: `make abuse`."""

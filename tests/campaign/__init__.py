# SPDX-License-Identifier: Apache-2.0
"""The fault campaign of `make faults`: seeded rounds, each a job, a fault at a step of it, and a look at the node."""

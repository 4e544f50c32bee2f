# SPDX-License-Identifier: Apache-2.0
"""Faults at every step, by `make faults`; not part of `make test` yet."""

# SPDX-License-Identifier: Apache-2.0
"""Faults at every step; the campaign of `make faults` is tests/campaign."""

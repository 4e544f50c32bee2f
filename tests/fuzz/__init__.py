# SPDX-License-Identifier: Apache-2.0
"""Fuzzing with coverage of what reads a client's bytes: `make fuzz`."""

#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# Nothing: what is another there is who installed it (tests/labs/playbook.py).

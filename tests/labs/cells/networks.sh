#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# Nothing: what is another there is the kernel, and its tests set what they need.

#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
sed -i 's/^ConstrainRAMSpace=.*/ConstrainRAMSpace=no/' /etc/slurm/cgroup.conf

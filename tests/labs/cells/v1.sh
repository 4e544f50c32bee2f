#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# This kernel has no memory controller of v1.
printf 'CgroupPlugin=cgroup/v1\nConstrainCores=no\nConstrainRAMSpace=no\n' >/etc/slurm/cgroup.conf

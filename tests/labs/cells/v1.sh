#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# Also before slurm-hooks is installed: a slurmd that is told v2 would not start.
sed -i 's/^CgroupPlugin=.*/CgroupPlugin=cgroup\/v1/' /etc/slurm/cgroup.conf
modprobe -aq fuse autofs4 btrfs || : # whose devices play GPUs (tests/cluster/gres.py)

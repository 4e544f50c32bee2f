#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
echo CgroupJobIdPaths=yes >>/etc/slurm/cgroup.conf

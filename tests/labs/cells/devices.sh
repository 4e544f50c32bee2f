#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
echo ConstrainDevices=yes >>/etc/slurm/cgroup.conf

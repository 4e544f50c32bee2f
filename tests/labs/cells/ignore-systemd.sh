#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# slurmd makes its scope itself.
echo IgnoreSystemd=yes >>/etc/slurm/cgroup.conf

#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# Slurm itself delegates pids to jobs and steps.
echo EnableExtraControllers=io,pids >>/etc/slurm/cgroup.conf

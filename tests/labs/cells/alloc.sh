#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
sed -i 's/^PrologFlags=.*/PrologFlags=Alloc/' /etc/slurm/slurm.conf

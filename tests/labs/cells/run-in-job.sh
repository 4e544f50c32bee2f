#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
sed -i 's/^PrologFlags=.*/PrologFlags=Contain,RunInJob/' /etc/slurm/slurm.conf

#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# The Prolog runs when the first task comes, and there is no extern step.
sed -i '/^PrologFlags=/d' /etc/slurm/slurm.conf

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Slurm's TaskEpilog: as the user, in the user's environment. The first task of a step alone has something to say, on
# the step's standard error, the only one of its streams that Slurm leaves us; our own faults go nowhere.
[ "${SLURM_PROCID:-0}" = 0 ] && [ "${SLURM_NODEID:-0}" = 0 ] || exit 0
/usr/bin/python3 -I -S -c 'import sys
sys.path.insert(0, "/usr/lib/slurm-hooks")
from slurm_hooks import task_epilog
task_epilog.main()' 3>&2 2>/dev/null || :

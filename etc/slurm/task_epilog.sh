#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Slurm's TaskEpilog: as the user, in the user's environment. Where a container has run, the first task of a step asks
# for an account and tells it on the step's standard error, the only one of its streams that Slurm leaves us. Our own
# faults go nowhere. Nothing is started for the others: this runs after each task of each job.
[ "${SLURM_PROCID:-0}" = 0 ] && [ "${SLURM_NODEID:-0}" = 0 ] && [ -e "/run/slurm-hooks/users/$SLURM_JOB_UID.ran" ] || exit 0
/usr/bin/python3 -I -S -c 'import sys
sys.path.insert(0, "/usr/lib/slurm-hooks")
from slurm_hooks import task_epilog
task_epilog.main()' 3>&2 2>/dev/null || :

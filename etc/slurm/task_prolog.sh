#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Slurm's TaskProlog: as the user, in the user's environment, hence absolute paths, -I and -S.
# Whatever happens, 0: a task must not fail because its node has no working slurm-hooks.
/usr/bin/python3 -I -S -c 'import sys
sys.path.insert(0, "/usr/lib/slurm-hooks")
from slurm_hooks import task_prolog
task_prolog.main()' 2>/dev/null || :

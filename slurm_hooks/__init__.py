# SPDX-License-Identifier: Apache-2.0
"""Docker for Slurm jobs, without giving anyone Docker.

Hooks import this package on their healthy path, where every module costs
start-up time: nothing is imported here.
"""

__version__ = "0.1.0"

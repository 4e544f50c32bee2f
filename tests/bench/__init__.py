# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what slurm-hooks costs, as paired ratios on lab (a). See docs/performance.md."""

# SPDX-License-Identifier: Apache-2.0
"""What plain `docker run` gives a program, and what it gets in a job: facts of the kernel, read from inside."""

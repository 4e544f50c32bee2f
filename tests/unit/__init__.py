# SPDX-License-Identifier: Apache-2.0
"""What can be proved in this process: pure code, files in a temporary directory, sockets of our own."""

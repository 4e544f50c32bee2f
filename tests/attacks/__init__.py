# SPDX-License-Identifier: Apache-2.0
"""What a hostile user with a shell in a job tries; each attack is proved to be one where dockerd alone is asked."""

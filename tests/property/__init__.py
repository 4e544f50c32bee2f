# SPDX-License-Identifier: Apache-2.0
"""What must hold for every input: hypothesis looks for one for which it does not."""

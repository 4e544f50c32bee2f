# SPDX-License-Identifier: Apache-2.0
"""The packages as operators get them: `make test-packages`."""

# SPDX-License-Identifier: Apache-2.0
"""The documentation: a site (site.py), whose commands tests run (pages.py)."""

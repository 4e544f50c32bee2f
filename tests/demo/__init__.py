# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a story of seven scenes on a real cluster; each statement in it is asserted."""

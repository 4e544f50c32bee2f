# SPDX-License-Identifier: Apache-2.0
"""`make test-nodes`: the suite on nodes of each release, installed by the book, and the table that says how it went."""

# SPDX-License-Identifier: Apache-2.0
"""`make scale`: what we cost a node when it has many jobs: at once, and one after the other."""

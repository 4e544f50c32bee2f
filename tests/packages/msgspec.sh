#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The sources of msgspec as Debian 13 has them, for Debian 12, which has none; print the tar file's path.
set -eu

here=$(dirname "$(readlink -f "$0")")
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
sources=$cache/msgspec-trixie.tar.gz

mkdir -p "$cache"
exec 9>"$cache/msgspec.lock"
flock 9 # two checkouts may ask at once
if [ ! -e "$sources" ]; then
    own=$(mktemp -d "$cache/msgspec.XXXXXX")
    trap 'rm -rf "$own"' EXIT
    "$here/../labs/fetch.sh" trixie src:python-msgspec "$own"
    mv "$own"/python-msgspec_*.orig.tar.gz "$sources"
fi
echo "$sources"

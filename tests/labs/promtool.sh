#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Print the path of promtool: this machine's own, or one out of Debian's package, which is not installed, since a
# machine that runs the tests shall get no Prometheus that runs by itself.
set -eu

command -v promtool && exit
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
program=$cache/promtool

mkdir -p "$cache"
exec 9>"$cache/promtool.lock"
flock 9 # two checkouts may ask at once
if [ ! -e "$program" ]; then
    work=$(mktemp -d "$cache/promtool.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "promtool: downloading Debian's prometheus" >&2
    cd "$work"
    chmod 755 "$work"
    apt-get -qq download prometheus 2>/dev/null >&2 || {
        apt-get -qq update >&2
        apt-get -qq download prometheus >&2
    }
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    mv usr/bin/promtool "$program"
fi
echo "$program"

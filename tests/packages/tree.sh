# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Sourced by what builds a package ($here: this directory): a root tree to build in, and the sources for it.
# shellcheck disable=SC2154 # $here
top=$here/../..
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}

unpack() { # unpack TAR NAME: $root is that tree, for as long as the script runs
    mkdir -p "$cache"
    root=$(mktemp -d "$cache/$2.XXXXXX")
    trap 'rm -rf "$root"' EXIT
    tar -xf "$1" -C "$root"
}

sources() { # sources DIRECTORY: what git knows, as it lies here
    mkdir -p "$1"
    git -C "$top" ls-files -z --cached --others --exclude-standard |
        tar -c -C "$top" --null --ignore-failed-read --owner=root --group=root --files-from=- | tar -x -C "$1"
    chmod -R go-w "$1"
}

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# clients.sh DIRECTORY SUITE: the docker commands of other Debian suites than trixie, for the nodes' /opt:
#     DIRECTORY/docker-clients/bookworm/docker    20.10
#     DIRECTORY/docker-clients/sid/docker         28.5, or what sid has by now
#     DIRECTORY/docker-clients/toil/              Toil and what it imports, which Debian does not have: for trixie's Python
# Only the programs: they are static but for libc. What the mirror, or the package index, does not have is left out,
# with a word.
set -eu

to=$1/docker-clients suite=$2
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d "$1/apt.XXXXXX")
mkdir -p "$to"

fetch() { # fetch SUITE PACKAGE
    mkdir "$work/$1"
    "$here/../fetch.sh" "$1" "$2" "$work/$1" || return 1
    dpkg-deb --extract "$work/$1/$2"_*.deb "$work/$1"
    mkdir "$to/$1"
    mv "$work/$1/usr/bin/docker" "$to/$1/docker"
}

fetch bookworm docker.io || echo "tree: no docker command of bookworm" >&2
fetch sid docker-cli || echo "tree: no docker command of sid" >&2
# For the tree's Python, not the machine's.
[ "$suite" != trixie ] || /usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
    --python-version 3.13 --target "$to/toil" 'toil>=9,<10' >&2 || {
    rm -rf "$to/toil"
    echo "tree: no Toil from the package index" >&2
}
rm -rf "$work"

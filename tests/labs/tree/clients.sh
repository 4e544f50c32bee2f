#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# clients.sh MIRROR DIRECTORY: the docker commands of other Debian suites, for the nodes' /opt:
#     DIRECTORY/docker-clients/bookworm/docker    20.10
#     DIRECTORY/docker-clients/sid/docker         28.5, or what sid has by now
#     DIRECTORY/docker-clients/toil/              Toil and what it imports, which Debian does not have
# Only the programs: they are static but for libc. What the mirror, or the package index, does not have is left out,
# with a word.
set -eu

mirror=$1 to=$2/docker-clients
work=$(mktemp -d "$2/apt.XXXXXX")
mkdir -p "$to"

fetch() { # fetch SUITE PACKAGE
    suite=$1 package=$2 own=$work/$1
    mkdir -p "$own/lists/partial" "$own/archives/partial" "$own/deb"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$own/sources.list"
    # An apt of its own beside the machine's, as in uml/build.sh.
    private() {
        apt-get -qq -o Dir::Etc::SourceList="$own/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$own" \
            -o Dir::State::Status=/dev/null -o Dir::Cache="$own" -o Acquire::Check-Valid-Until=false \
            -o Acquire::Languages=none -o APT::Sandbox::User=root "$@" >&2
    }
    private update && (cd "$own" && private download "$package") || return 1
    dpkg-deb --extract "$own/$package"_*.deb "$own/deb"
    mkdir -p "$to/$suite"
    mv "$own/deb/usr/bin/docker" "$to/$suite/docker"
}

fetch bookworm docker.io || echo "tree: no docker command of bookworm from $mirror" >&2
fetch sid docker-cli || echo "tree: no docker command of sid from $mirror" >&2
# For the tree's Python, not the machine's.
/usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
    --python-version 3.13 --target "$to/toil" 'toil>=9,<10' >&2 || {
    rm -rf "$to/toil"
    echo "tree: no Toil from the package index" >&2
}
rm -rf "$work"

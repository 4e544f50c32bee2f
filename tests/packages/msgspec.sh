#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The sources of msgspec as Debian 13 has them, for Debian 12, which has none; print the tar file's path.
# apt looks at its digest in the signed index.
set -eu

cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
sources=$cache/msgspec-trixie.tar.gz

mkdir -p "$cache"
exec 9>"$cache/msgspec.lock"
flock 9 # two checkouts may ask at once
if [ ! -e "$sources" ]; then
    own=$(mktemp -d "$cache/msgspec.XXXXXX")
    trap 'rm -rf "$own"' EXIT
    mkdir -p "$own/lists/partial" "$own/archives/partial"
    # shellcheck disable=SC2016 # apt's variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb-src [signed-by=$key] ${mirror:-http://deb.debian.org/debian} trixie main" >"$own/sources.list"
    private() { # an apt of its own beside the machine's
        apt-get -qq -o Dir::Etc::SourceList="$own/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$own" \
            -o Dir::State::Status=/dev/null -o Dir::Cache="$own" -o Acquire::Languages=none \
            -o APT::Sandbox::User=root "$@" >&2
    }
    private update
    (cd "$own" && private source --download-only --tar-only python-msgspec)
    mv "$own"/python-msgspec_*.orig.tar.gz "$sources"
fi
echo "$sources"

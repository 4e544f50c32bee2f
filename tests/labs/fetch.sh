#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fetch.sh SUITE PACKAGE DIRECTORY: download a package of another Debian suite than this machine's into a directory.
# `linux-image-*` names what that package depends on: the kernel itself. `src:PACKAGE` is its original sources, a tar file.
# What comes is what apt finds by the suite's signed index.
set -eu

suite=$1 package=$2 to=$3
# shellcheck disable=SC2016 # apt's variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
echo "fetch: $package of $suite from ${mirror:=http://deb.debian.org/debian}" >&2
# An apt of its own beside the machine's: its sources, lists and configuration stay as they are.
own=$(mktemp -d "$to/apt.XXXXXX")
trap 'rm -rf "$own"' EXIT
mkdir -p "$own/lists/partial" "$own/archives/partial"
kind=deb what=download
case $package in
src:*) kind=deb-src what='source --download-only --tar-only' package=${package#src:} ;;
esac
echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$own/sources.list"
private() { # private PROGRAM ARGUMENT...
    program=$1
    shift
    "$program" -qq -o Dir::Etc::SourceList="$own/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$own" \
        -o Dir::State::Status=/dev/null -o Dir::Cache="$own" -o Acquire::Check-Valid-Until=false \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
private apt-get update >&2
case $package in
linux-image-*) package=$(private apt-cache depends "$package" | sed -n 's/^ *Depends: //p' | head -n 1) ;;
esac
cd "$own"
# shellcheck disable=SC2086 # words
private apt-get $what "$package" >&2
mv "$package"_* "$to"

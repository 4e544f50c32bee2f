#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Build the root tree of an image with programs that people run in containers, as one tar file; print its path.
# A file already built from this script is used as it is.
set -eu

here=$(dirname "$(readlink -f "$0")")
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
packages='python3 r-base-core default-jre-headless bsh nodejs openmpi-bin python3-mpi4py gdb strace'
tar=$cache/programs-$(sha256sum "$here/programs.sh" | cut -c1-12).tar

mkdir -p "$cache"
exec 9>"$cache/programs.lock"
flock 9 # two may ask at once
if [ -e "$tar" ]; then
    echo "$tar"
    exit
fi
trap 'rm -f "$tar.part"' EXIT

command -v mmdebstrap >/dev/null || "$here/host.sh"
# shellcheck disable=SC2016 # apt's variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
echo "programs: building $tar from ${mirror:=http://deb.debian.org/debian}" >&2
# Java's installation wants to write a link into a directory that is excluded.
# shellcheck disable=SC2016 # the hook's $1 is the root tree, set by mmdebstrap
mmdebstrap --mode=root --variant=minbase --format=tar --include="$packages" \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook='mkdir -p "$1/usr/share/man/man1"' \
    trixie "$tar.part" "$mirror" >&2
mv "$tar.part" "$tar"
echo "$tar"

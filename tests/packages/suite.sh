#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# suite.sh SUITE PACKAGE...: the root tree of a Debian suite with these packages, as one tar file; print its path.
# It keeps apt's lists, so that a package of ours can be installed in it as on a node: by apt, with what it depends on.
# A file that was built from this script for the same packages within the week is used as it is.
set -eu

suite=$1
shift
packages=$(echo "$@" | tr ' ' ,)
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
here=$(dirname "$(readlink -f "$0")")
tar=$cache/suite-$suite-$({ cat "$0" && echo "$packages"; } | sha256sum | cut -c1-12).tar

"$here/host.sh"
mkdir -p "$cache"
exec 9>"$cache/suite.lock"
flock 9 # two checkouts may ask at once
if [ -n "$(find "$tar" -mtime -7 2>/dev/null)" ]; then # sid moves on, and the mirror forgets what the lists name
    echo "$tar"
    exit
fi
trap 'rm -f "$tar.part"' EXIT

# The machine's own mirror, which it is known to reach.
# shellcheck disable=SC2016 # apt's variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
echo "suite: building $tar from ${mirror:=http://deb.debian.org/debian}" >&2

# shellcheck disable=SC2016 # $1 is the root tree, set by mmdebstrap
mmdebstrap --mode=root --variant=minbase --format=tar --include="$packages" \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Check-Valid-Until "false"' `# a mirror may stand still` \
    --skip=cleanup/apt/lists \
    --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
    "$suite" "$tar.part" "$mirror" >&2
mv "$tar.part" "$tar"
echo "$tar"

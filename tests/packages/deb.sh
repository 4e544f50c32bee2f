#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deb.sh DIRECTORY: the Debian packages of this checkout in DIRECTORY, built and judged by lintian in a tree of bookworm,
# the oldest suite that they are for: what is built there runs on later ones too. Nothing of this machine is in them.
set -eu

to=$1
here=$(dirname "$(readlink -f "$0")")
top=$here/../..
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}

tree=$("$here/suite.sh" bookworm build-essential debhelper dh-python libpython3-dev python3-setuptools lintian man-db)
sources=$("$here/msgspec.sh")
mkdir -p "$to" "$cache"
root=$(mktemp -d "$cache/deb.XXXXXX")
trap 'rm -rf "$root"' EXIT
tar -xf "$tree" -C "$root"

# What git knows, as it lies here, and msgspec's sources beside it.
mkdir -p "$root/build/slurm-hooks/msgspec"
git -C "$top" ls-files -z --cached --others --exclude-standard |
    tar -c -C "$top" --null --ignore-failed-read --owner=root --group=root --files-from=- | tar -x -C "$root/build/slurm-hooks"
tar -xf "$sources" -C "$root/build/slurm-hooks/msgspec" --strip-components=1 --no-same-owner
chmod -R go-w "$root/build/slurm-hooks"

cat >"$root/build/run" <<'END'
set -eu
cd /build/slurm-hooks
dpkg-buildpackage --build=binary --build-profiles=pkg.slurm-hooks.msgspec --no-sign >/build/log 2>&1 || {
    cat /build/log
    exit 1
}
lintian --allow-root --info /build/*.changes >/build/lintian || [ $? = 2 ] # 2: it found something, or an override did
cat /build/lintian
! grep -q '^[EW]:' /build/lintian
END
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEB_BUILD_OPTIONS='nocheck noautodbgsym' \
    chroot "$root" /bin/sh /build/run >&2
rm -f "$to"/slurm-hooks*.deb
cp "$root"/build/*.deb "$to/"

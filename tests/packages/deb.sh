#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deb.sh DIRECTORY: the Debian packages of this checkout in DIRECTORY, built and judged by lintian in a tree of bookworm,
# the oldest suite that they are for: what is built there runs on later ones too. Nothing of this machine is in them.
set -eu

to=$1
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/packages/tree.sh
. "$here/tree.sh"

tree=$("$here/suite.sh" bookworm build-essential debhelper dh-python libpython3-dev python3-setuptools lintian man-db)
unpack "$tree" deb
msgspec=$("$here/msgspec.sh")

sources "$root/build/slurm-hooks"
mkdir "$root/build/slurm-hooks/msgspec"
tar -xf "$msgspec" -C "$root/build/slurm-hooks/msgspec" --strip-components=1 --no-same-owner
chmod -R go-w "$root/build/slurm-hooks/msgspec"

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
mkdir -p "$to"
rm -f "$to"/slurm-hooks*.deb
cp "$root"/build/*.deb "$to/"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# rpm.sh DIRECTORY: the RPM package of this checkout in DIRECTORY, built in a tree of trixie by Debian's rpmbuild.
set -eu

to=$1
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/packages/tree.sh
. "$here/tree.sh"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$top/slurm_hooks/__init__.py")

tree=$("$here/suite.sh" trixie make python3 rpm)
unpack "$tree" rpm
sources "$root/build/slurm-hooks-$version"
mkdir "$root/build/SOURCES"
tar -c -z -C "$root/build" "slurm-hooks-$version" >"$root/build/SOURCES/slurm-hooks-$version.tar.gz"
[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3 # of a bare tree

# Without the dependencies: Debian's rpm does not know what Debian's dpkg has. The rest is for the same bytes each time.
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH="$(git -C "$top" log -1 --format=%ct)" \
    chroot "$root" rpmbuild -bb --nodeps --define "_topdir /build" --define "hooks_version $version" \
    --define "_buildhost slurm-hooks" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" "/build/slurm-hooks-$version/rpm/slurm-hooks.spec" \
    >"$root/build/log" 2>&1 || { cat "$root/build/log" >&2; exit 1; }
mkdir -p "$to"
rm -f "$to"/slurm-hooks-*.rpm
cp "$root"/build/RPMS/noarch/*.rpm "$to/"

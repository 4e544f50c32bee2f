#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# rpm.sh DIRECTORY: the RPM package of this checkout in DIRECTORY, built in a tree of trixie by Debian's rpmbuild.
set -eu

to=$1
here=$(dirname "$(readlink -f "$0")")
top=$here/../..
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$top/slurm_hooks/__init__.py")

tree=$("$here/suite.sh" trixie make python3 rpm)
mkdir -p "$to" "$cache"
root=$(mktemp -d "$cache/rpm.XXXXXX")
trap 'rm -rf "$root"' EXIT
tar -xf "$tree" -C "$root"

# What git knows, as it lies here.
mkdir -p "$root/build/SOURCES"
git -C "$top" ls-files -z --cached --others --exclude-standard |
    tar -c -z -C "$top" --null --ignore-failed-read --owner=root --group=root --mode=go-w --files-from=- \
        --transform="s,^,slurm-hooks-$version/," >"$root/build/SOURCES/slurm-hooks-$version.tar.gz"

# Without the dependencies: Debian's rpm does not know what Debian's dpkg has. /dev has no null in a bare tree.
[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
cp "$top/rpm/slurm-hooks.spec" "$root/build/"
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH="$(git -C "$top" log -1 --format=%ct)" \
    chroot "$root" rpmbuild -bb --nodeps --define "_buildhost slurm-hooks" \
    --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" --define "_topdir /build" --define "hooks_version $version" /build/slurm-hooks.spec \
    >"$root/build/log" 2>&1 || { cat "$root/build/log" >&2; exit 1; }
rm -f "$to"/slurm-hooks-*.rpm
cp "$root"/build/RPMS/noarch/*.rpm "$to/"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh apparmor|selinux SUITE: build what a boot of lab (b) needs, and print its directory:
#     disk.img   the node's ext4 disk, with the kernel's modules
#     security   which security module the kernel starts with, in its own words
#     root/      the kernel, a program, with the libc that it wants: newer than Debian 12's
# A directory already built from the same parts is used as it is.
set -eu

security=$1 suite=$2
here=$(dirname "$(readlink -f "$0")")
labs=$here/..
ours=$labs/../../etc/selinux/slurm-hooks.cil
# shellcheck source=tests/labs/node/build.sh
. "$labs/node/build.sh"
# The kernels of the user-mode-linux packages before 7.2 (bookworm, trixie) panic on processors with AMX.
begin uml forky user-mode-linux 'user-mode-linux_*.deb' "$security $(cat "$here/lab.cil" "$ours")"

mkdir -p "$node/usr/lib/modules"
mv "$work"/deb/usr/lib/uml/modules/* "$node/usr/lib/modules"
# By the old mount(2), all that util-linux has before 2.39, hostfs takes a path and no name of an option.
[ "$suite" != bookworm ] || sed -i 's/hostfs=//' "$node/etc/fstab"

echo "$security=1 security=$security" >"$work/image/security"
if [ "$security" = selinux ]; then
    # Labelled here, and not in a boot of its own: a kernel without SELinux takes the labels as it takes any attribute.
    cp /etc/resolv.conf "$node/etc/resolv.conf"
    chroot "$node" sh -c 'export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update && apt-get -qq install --no-install-recommends selinux-policy-default policycoreutils &&
        apt-get clean && rm -rf /var/lib/apt/lists/* /etc/resolv.conf' >&2
    # An operator does it with what `make install` brings; here it would take a minute of each boot.
    cp "$ours" "$here/lab.cil" "$node/tmp"
    chroot "$node" semodule --noreload --install /tmp/slurm-hooks.cil /tmp/lab.cil >&2
    rm "$node"/tmp/*.cil
    chroot "$node" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
fi

mkdir "$work/image/root"
cd "$work/image/root"
mkdir dev image lib lib64 proc run src tmp
touch dev/null dev/random
cp "$work/deb/usr/bin/linux.uml" .
for package in libc6 libgcc-s1; do
    "$labs/fetch.sh" trixie "$package" "$work"
    dpkg-deb --extract "$work/${package}"_*.deb "$work/libc"
done
cp "$work/libc/usr/lib64/ld-linux-x86-64.so.2" lib64
cp "$work"/libc/usr/lib/x86_64-linux-gnu/libc.so.6 "$work"/libc/usr/lib/x86_64-linux-gnu/libgcc_s.so.1 lib
end

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh: build what a boot of lab (c) needs, and print its directory:
#     disk.img   the node's ext4 disk, with the modules of Debian's stock kernel
#     vmlinuz    that kernel
#     initrd     what it needs to find the disk, and no more: minutes of udev are not what is tested
# A directory already built from the same parts is used as it is.
set -eu

here=$(dirname "$(readlink -f "$0")")
labs=$here/..
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
mkdir -p "$cache"
exec 8>"$cache/emulated.lock"
flock 8 # two may ask at once

work=$(mktemp -d "$cache/emulated.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Not the cloud kernel: it has no 9p.
package() { find "$cache" -maxdepth 1 -name 'linux-image-*.deb' | sort -V | tail -n 1; }
[ -n "$(package)" ] || "$labs/fetch.sh" trixie linux-image-amd64 "$cache"
deb=$(package)
hash=$( (echo "$deb" && "$labs/node/fill.sh" emulated) | sha256sum | cut -c1-12)
image=$cache/emulated-$hash
if [ -d "$image" ]; then
    echo "$image"
    exit
fi

echo "emulated: building $image" >&2
node=$work/node
mkdir -p "$node" "$work/deb" "$work/image" "$work/initrd/bin" "$work/initrd/dev" "$work/initrd/root"
"$labs/node/fill.sh" emulated "$node"
dpkg-deb --extract "$deb" "$work/deb"
mv "$work"/deb/usr/lib/modules "$node/usr/lib"
mv "$work"/deb/boot/vmlinuz-* "$work/image/vmlinuz"
release=$(ls "$node/usr/lib/modules")
chroot "$node" depmod "$release"

cp "$node/usr/bin/busybox" "$work/initrd/bin"
{
    echo '#!/bin/busybox sh'
    echo 'busybox mount -t devtmpfs devtmpfs /dev'
    chroot "$node" modprobe --set-version "$release" --show-depends --all virtio_pci virtio_blk ext4 |
        awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r module; do
        name=$(basename "$module" .xz)
        xz -dc "$node$module" >"$work/initrd/$name"
        echo "busybox insmod /$name"
    done
    echo 'until [ -b /dev/vda ]; do busybox usleep 20000; done'
    echo 'busybox mount -t ext4 -o noatime /dev/vda /root'
    echo 'busybox umount /dev'
    echo 'exec busybox switch_root /root /sbin/init'
} >"$work/initrd/init"
chmod 755 "$work/initrd/init"
mkdir "$node/tmp/initrd"
cp -r "$work/initrd/." "$node/tmp/initrd"
# shellcheck disable=SC2016 # the shell's inside
chroot "$node" sh -c 'cd /tmp/initrd && find . | busybox cpio -o -H newc' >"$work/image/initrd"
rm -r "$node/tmp/initrd"

# No journal: no disk outlives its boot.
truncate --size 6G "$work/image/disk.img"
mkfs.ext4 -q -F -O ^has_journal -E root_owner=0:0 -d "$node" "$work/image/disk.img"
chmod 700 "$work/image" # the cluster's munge key is on the disk
mv "$work/image" "$image"
echo "$image"

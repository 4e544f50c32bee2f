#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh SECURITY SUITE: build what a boot of lab (c) needs, and print its directory:
#     disk.img   the node's ext4 disk, with the modules of Debian's stock kernel
#     vmlinuz    that kernel
#     initrd     what it needs to find the disk, and no more: minutes of udev are not what is tested
# A directory already built from the same parts is used as it is.
set -eu

suite=$2 # its kernel has all modules of security
labs=$(dirname "$(readlink -f "$0")")/..
# shellcheck source=tests/labs/node/build.sh
. "$labs/node/build.sh"
case $suite in
    bookworm) of=bookworm version=6.1 ;; # the last one with all controllers of cgroup v1
    *) of=trixie version=6.12 ;;
esac
# Not the cloud kernel: it has no 9p.
begin emulated "$of" linux-image-amd64 "linux-image-$version.*.deb" ''

mv "$(find "$work/deb" -maxdepth 3 -name modules)" "$node/usr/lib" # before trixie it is in /lib
mv "$work"/deb/boot/vmlinuz-* "$work/image/vmlinuz"
release=$(ls "$node/usr/lib/modules")
chroot "$node" depmod "$release"

mkdir -p "$work/initrd/bin" "$work/initrd/dev" "$work/initrd/root"
cp "$node/usr/bin/busybox" "$work/initrd/bin"
{
    echo '#!/bin/busybox sh'
    echo 'busybox mount -t devtmpfs devtmpfs /dev'
    chroot "$node" modprobe --set-version "$release" --show-depends --all virtio_pci virtio_blk ext4 |
        awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r module; do
        name=$(basename "$module" .xz)
        case $module in
            *.xz) xz -dc "$node$module" ;;
            *) cat "$node$module" ;;
        esac >"$work/initrd/$name"
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

end

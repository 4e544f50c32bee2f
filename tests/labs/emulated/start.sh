#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# start.sh IMAGE SOURCE RUN [WORD...]: become the emulated machine of lab (c), for node/keeper.py: descriptor $BELL is
# the node's ttyS0, $TTY its ttyS1; its console, ttyS2, is on standard output. WORD: one more of the command line.
# RUN/second.disk, where there is one, is a file that the node can read as its /dev/vdb.
set -eu

image=$1 source=$2 run=$3
shift 3
disk=$run/disk.qcow2
[ -e "$disk" ] || qemu-img create -q -f qcow2 -F raw -b "$image/disk.img" "$disk" >&2
words=$*
set --
[ ! -e "$run/second.disk" ] || set -- -drive "file=$run/second.disk,if=virtio,format=raw,readonly=on"

# Never -accel kvm: without vmx or svm in /proc/cpuinfo a /dev/kvm is a trap, and here it is to be the same everywhere.
# No network card: the node's network is its own.
# norandmaps: QEMU keeps what it has translated by address, so a program that always lies elsewhere is translated each
# time (a fork and exec took 160 ms, 40 with it).
# Others have work on this machine.
exec nice -n 5 qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -cpu max,la57=off -smp 4 -m 2048 \
    -nodefaults -no-user-config -display none -monitor none -no-reboot -nic none \
    -chardev "socket,id=bell,fd=$BELL" -serial chardev:bell -chardev "socket,id=tty,fd=$TTY" -serial chardev:tty \
    -chardev file,id=console,path=/dev/stdout -serial chardev:console \
    -drive "file=$disk,if=virtio,format=qcow2,cache=unsafe,discard=unmap" "$@" -device virtio-rng-pci \
    -virtfs "local,path=$source,mount_tag=src,security_model=none,readonly=on,multidevs=remap" \
    -virtfs "local,path=$run/mail,mount_tag=mail,security_model=none" \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" \
    -append "root=/dev/vda rw console=ttyS2 quiet norandmaps mitigations=off panic=-1 systemd.getty_auto=no systemd.show_status=no $words"

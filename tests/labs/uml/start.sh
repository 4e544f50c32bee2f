#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# start.sh IMAGE SOURCE RUN [WORD...]: become the kernel of lab (b), for node/keeper.py: descriptor $BELL is the node's
# ttyS0, $TTY its ttyS1, $CABLE, if any, its vec0; the console is on standard output. WORD is one more of the kernel's
# command line.
set -eu

image=$1 source=$2 run=$3
shift 3
words=$*
[ -z "${CABLE-}" ] || words="$words vec0:transport=fd,fd=$CABLE"
memory=2048 # MiB

# The kernel's world: its libc is newer than the host's, so it lives in a root of its own.
root=$image/root
# The node's memory is a file here. It must be executable: user code is mapped from it.
mount -t tmpfs -o "size=$((memory + 256))m,mode=0700" tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
# Not all of /dev: the node's root can mount what is here (hostfs).
mount --bind /dev/null "$root/dev/null"
mount --bind /dev/random "$root/dev/random"
mount --rbind "$run" "$root/run"
mount --bind -o ro "$image" "$root/image"
mount --bind -o ro "$source" "$root/src"

# The kernel and the user code that it runs are two threads which hand over to each other at each
# system call: on one processor that is a third faster than across two. A worker's node has another than the next one's.
number=${SLURM_HOOKS_PROCESSOR:-${run##*[!0-9]}}
# shellcheck disable=SC2046 # numbers
set -- $(/usr/bin/python3 -c 'import os; print(*sorted(os.sched_getaffinity(0), reverse=True))')
shift $((${number:-0} % $#))
processor=$1
export TMPDIR=/tmp HOME=/tmp
# shellcheck disable=SC2046,SC2086 # words of the kernel's command line
exec taskset --cpu-list "$processor" chroot "$root" /linux.uml mem="${memory}M" umid=node uml_dir=/tmp/ \
    ubd0=/run/disk.cow,/image/disk.img root=/dev/ubda rw hostname=uml1 con=null con0=null,fd:1 seccomp=auto \
    noreboot panic=-1 TERM=dumb $(cat "$image/security") $words "ssl0=fd:$BELL" "ssl1=fd:$TTY"

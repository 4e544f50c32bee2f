#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Once a boot, in the node, before Slurm starts: what depends on the checkout is fetched from
# it here and not built into the disk, so that a change in it needs a new boot only.
set -eu

# slurmd and munged ask getaddrinfo, which answers nothing while lo is the only interface.
link=vec0 # the cable to another node, where there is one
if [ ! -e /sys/class/net/$link ]; then
    link=lab0
    modprobe dummy numdummies=0
    ip link add $link type dummy
fi
ip address add "$(getent hosts "$(hostname)" | cut -d ' ' -f 1)/24" dev $link
ip link set $link up

# What Debian's own kernels have from the start.
sysctl -qw kernel.unprivileged_bpf_disabled=1

if grep -qw lab.pair /proc/cmdline; then
    sed -i 's/^NodeName=uml1 /NodeName=uml[1-2] /' /etc/slurm/nodes.conf
fi
if grep -qw lab.bare /proc/cmdline; then
    # A site's node before slurm-hooks; tests/labs/packaged.py is its operator.
    [ -e /etc/slurm/slurm.conf ] ||
        grep -Ev '^(ProctrackType|TaskPlugin|PrologFlags|Include.*slurm-hooks)' /src/tests/labs/slurm/slurm.conf >/etc/slurm/slurm.conf
    [ -e /sys/fs/cgroup/cgroup.controllers ] || /src/tests/labs/cells/v1.sh
    exit
fi
cp /src/tests/labs/slurm/slurm.conf /etc/slurm/
install -D -m 644 /src/tests/labs/slurm-hooks.toml /etc/slurm-hooks/slurm-hooks.toml
make -s -C /src install
systemctl daemon-reload
# Not awaited: they may want to come after units that wait for this script.
systemctl start --no-block slurm-hooks-docker slurm-hooks-broker lab-image

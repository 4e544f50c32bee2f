#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# In the node: wait until it takes jobs, or say why it will not. `ready.sh busy`: it may have jobs, of before a reboot.
set -eu

units='lab-node munge containerd slurmd'
! grep -q "^SlurmctldHost=$(hostname)$" /etc/slurm/nodes.conf || units="$units slurmctld"
# Both wait for what the boot, or node.sh, has begun.
systemctl is-system-running --wait >/dev/null || true # failed units: below
if [ -d /usr/lib/slurm-hooks ]; then # not so on a node that waits for its operator
    units="$units slurm-hooks-docker slurm-hooks-broker lab-image"
    # shellcheck disable=SC2086 # a list of units
    systemctl start $units 2>/dev/null || true
fi
for unit in $units; do
    systemctl --quiet is-active "$unit" && continue
    journalctl --boot --no-hostname --output=short-monotonic --lines=20 --unit="$unit" >&2
    broken=1
done
[ -z "${broken-}" ] || exit 1
if [ "${1-}" = busy ]; then
    until scontrol ping >/dev/null && scontrol show slurmd >/dev/null; do sleep 0.1; done
    exit
fi
idle() { [ "$(sinfo --noheader --Format=StateLong | tr -d ' ' | sort -u)" = idle ]; }
idle && exit
# What a suite that was broken off has left running is waited for by nobody.
scancel --user=ann || true
scancel --user=bob || true
for _ in $(seq 200); do
    idle && exit
    sleep 0.1
done
scontrol show nodes >&2
exit 1

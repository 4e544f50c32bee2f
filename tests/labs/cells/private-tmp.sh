#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# Of the first release that has it to the last one: another name, the same file.
if [ -e /usr/lib/x86_64-linux-gnu/slurm-wlm/namespace_tmpfs.so ]; then
    echo NamespaceType=namespace/tmpfs >>/etc/slurm/slurm.conf
else
    echo JobContainerType=job_container/tmpfs >>/etc/slurm/slurm.conf
fi
# /tmp and /dev/shm are private without a word; 22.05 has no Dirs to say so.
printf 'AutoBasePath=true\nBasePath=/var/lib/lab-private\n' >/etc/slurm/job_container.conf

#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
echo NamespaceType=namespace/linux >>/etc/slurm/slurm.conf
printf 'defaults:\n  auto_base_path: true\n  base_path: /var/lib/lab-private\n  dirs: /tmp,/dev/shm\n  pid_ns: true\n' >/etc/slurm/namespace.yaml

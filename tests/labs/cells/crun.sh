#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
sed -i '2i "runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun",' /etc/docker/slurm-jobs.json
systemctl restart slurm-hooks-docker

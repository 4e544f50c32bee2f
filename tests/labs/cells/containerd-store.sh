#!/bin/sh -eu
# SPDX-License-Identifier: Apache-2.0
# containerd keeps images and makes the roots of containers; what dockerd had before it does not see.
sed -i 's/"containerd-snapshotter": false/"containerd-snapshotter": true/; /"storage-driver"/d' /etc/docker/slurm-jobs.json
systemctl restart slurm-hooks-docker
systemctl restart lab-image

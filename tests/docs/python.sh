#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# On a node: make the image of the cookbook's Python, tools/python:3.13, out of the test image and the node's own Python.
set -eu

export DOCKER_HOST=unix:///run/slurm-hooks-docker/docker.sock
image=tools/python:3.13
docker image inspect "$image" >/dev/null 2>&1 && exit

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
made=$(docker create img)
docker export "$made" | tar -x -C "$root"
docker rm "$made" >/dev/null
cd /
cp -r --parents --no-preserve=ownership usr/bin/python3 usr/bin/python3.13 usr/lib/python3.13 "$root"
ldd usr/bin/python3.13 usr/lib/python3.13/lib-dynload/_ctypes.*.so | grep -o '/[^ ]* (' | cut -c2- | tr -d ' (' |
    sort -u | xargs cp -L --parents -t "$root"
find "$root" \( -name __pycache__ -o -name test -o -name idlelib \) -prune -exec rm -r {} +
tar -C "$root" -c . | docker import --change 'CMD ["python3"]' --change 'ENV PATH=/usr/bin:/bin' - "$image" >/dev/null

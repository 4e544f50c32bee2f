#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Leave the machine as it was before lab (a): no container, volume, network or image of ours, no daemon.
#   --cluster  the cluster only: the image of its hosts stays
#   --all      the cache as well: root trees, images, Docker data, virtual environments
set -eu

labs=$(dirname "$(readlink -f "$0")")
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
ours=label=com.docker.compose.project=slurm-hooks-lab

if DOCKER_HOST=$("$labs/dockerd.sh" status); then
    export DOCKER_HOST
    {
        docker ps --all --quiet --filter "$ours" | xargs -r docker rm --force --volumes
        docker volume ls --quiet --filter "$ours" | xargs -r docker volume rm
        docker network ls --quiet --filter "$ours" | xargs -r docker network rm
        if [ "${1:-}" != --cluster ]; then
            docker images --format '{{.Repository}}:{{.Tag}}' slurm-hooks-node | xargs -r docker rmi
        fi
    } >/dev/null
fi
"$labs/dockerd.sh" stop

if [ "${1:-}" = --all ]; then
    rm -rf "$cache/docker" "$cache"/tree-*.tar "$cache"/uml-* "$cache"/emulated-* "$cache"/suite-*.tar \
        "$cache"/msgspec-*.tar.gz "$cache"/user-mode-linux_*.deb "$cache"/linux-image-*.deb "$cache"/venv-* \
        "$cache"/promtool "$cache"/*.lock
    rmdir --ignore-fail-on-non-empty "$cache"
fi

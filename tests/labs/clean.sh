#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Leave the machine as it was before lab (a): no container, volume, network or image of ours, no daemon.
# Of the cache stays what was used within two weeks.
#   --cluster  the cluster only: the image of its hosts stays
#   --all      the cache as well: root trees, images, Docker data, virtual environments
set -eu

labs=$(dirname "$(readlink -f "$0")")
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
project=com.docker.compose.project  # a label; ours are slurm-hooks-lab, and with a word behind it

ours() { # ours FIELD LIST...: what a list of docker's has of our clusters
    field=$1
    shift
    docker "$@" --filter "label=$project" --format "{{.$field}} {{.Label \"$project\"}}" |
        awk '$2 ~ /^slurm-hooks-lab(-|$)/ {print $1}'
}

if DOCKER_HOST=$("$labs/dockerd.sh" status); then
    export DOCKER_HOST
    {
        ours ID ps --all | xargs -r docker rm --force --volumes
        ours Name volume ls | xargs -r docker volume rm
        ours ID network ls | xargs -r docker network rm
        if [ "${1:-}" != --cluster ]; then
            docker images --format '{{.Repository}}:{{.Tag}}' slurm-hooks-node | xargs -r docker rmi
        fi
    } >/dev/null
fi
"$labs/dockerd.sh" stop
"$labs/compose/apparmor" unload

if [ "${1:-}" = --all ]; then
    rm -rf "$cache/docker" "$cache"/tree-*.tar "$cache"/uml-* "$cache"/emulated-* "$cache"/suite-*.tar "$cache"/*.*/ \
        "$cache"/msgspec-*.tar.gz "$cache"/user-mode-linux_*.deb "$cache"/linux-image-*.deb "$cache"/venv-* \
        "$cache"/promtool "$cache"/*.lock
    rmdir --ignore-fail-on-non-empty "$cache"
elif [ -d "$cache" ]; then
    # What no lab has read for two weeks, built of another state of the sources; and of a day ago what was being made,
    # whose name has a point and what mktemp put behind it.
    cd "$cache"
    find . -maxdepth 1 \( -name 'tree-*.tar' -o -name 'suite-*.tar' \) -atime +14 -delete
    find . -mindepth 1 -maxdepth 1 -type d -name '*.*' -mtime +0 -exec rm -rf {} +
    find . -mindepth 2 -maxdepth 2 -name disk.img -atime +14 -printf '%h\n' | xargs -r rm -rf
fi

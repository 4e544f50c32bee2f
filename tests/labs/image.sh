#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make the image of the tests, img:latest, out of the busybox of this host, unless $DOCKER_HOST has it.
set -eu

image=img:latest
docker image inspect "$image" >/dev/null 2>&1 && exit

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root" # mktemp's 700 would become the image's /, closed to every user but root
(
    cd "$root"
    mkdir -p bin sbin usr/bin usr/sbin etc root tmp
    chmod 1777 tmp
    cp "$(readlink -f "$(command -v busybox)")" bin/busybox
    # One process, not four hundred: on an emulated machine they are a minute.
    bin/busybox --list-full | grep -vx bin/busybox |
        /usr/bin/python3 -IS -c 'import os, sys; [os.symlink("/bin/busybox", name.strip()) for name in sys.stdin]'
    echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
    echo 'root:x:0:' >etc/group
)
tar -C "$root" -c . | docker import --change 'CMD ["/bin/sh"]' \
    --change 'ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin' - "$image" >/dev/null

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what the labs need on this machine, from Debian's packages, unless it is there.
# host.sh emulated: what lab (c) needs too; host.sh ansible: what plays the role of etc/ansible.
set -eu

need() { # need COMMAND PACKAGE: the package is wanted where the command is missing
    command -v "$1" >/dev/null || wanted="$wanted $2"
}

wanted=
need mmdebstrap mmdebstrap
need mkfs.ext4 e2fsprogs
need ip iproute2
need shellcheck shellcheck
# A Docker that is here already is used as it is, whoever installed it.
docker info >/dev/null 2>&1 || need dockerd docker.io
need docker docker.io
docker compose version >/dev/null 2>&1 || need docker-compose docker-compose
# Where the kernel has it, Docker makes use of it only with the parser, and the jobs' containers want their profile.
[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || need apparmor_parser apparmor
if [ "${1-}" = emulated ]; then
    need qemu-system-x86_64 qemu-system-x86
    need qemu-img qemu-utils
    need xz xz-utils
fi
[ "${1-}" != ansible ] || need ansible-playbook ansible-core
[ -n "$wanted" ] || exit 0

echo "host: installing$wanted" >&2

# Packages start their daemons; a machine that had no Docker shall not get one that runs by itself.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update >&2
# shellcheck disable=SC2086 # a list of packages
apt-get -qq install --yes --no-install-recommends $wanted >&2

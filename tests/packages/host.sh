#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what builds root trees on this machine, from Debian's packages, unless it is there.
set -eu

command -v mmdebstrap >/dev/null && exit
echo "host: installing mmdebstrap" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update >&2
apt-get -qq install --yes --no-install-recommends mmdebstrap >&2

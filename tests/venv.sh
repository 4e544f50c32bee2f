#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/venv.sh LINK: a virtual environment with everything that the tests import, cached outside the checkout
# under the hash of what it holds, and a link to it. The project itself is not installed in it: tests run it
# from the checkout, so that two checkouts never see each other's code.
set -eu

link=$1
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
here=$(dirname "$(readlink -f "$0")")
python=/usr/bin/python3

if ! "$python" -c 'import ensurepip, tomllib' 2>/dev/null; then
    echo "venv: installing python3-venv" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2
fi
wanted=$("$python" -c '
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)
groups = project["dependency-groups"]
print(*project["project"]["dependencies"], *groups["dev"], *groups["docs"], sep="\n")
' "$here/../pyproject.toml")
venv=$cache/venv-$(printf '%s' "$wanted" | sha256sum | cut -c1-12)

mkdir -p "$cache" "$(dirname "$link")"
exec 9>"$cache/venv.lock"
flock 9
if [ ! -e "$venv/complete" ]; then
    echo "venv: making $venv" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    printf '%s\n' "$wanted" >"$venv/requirements.txt"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$venv/requirements.txt" >&2
    touch "$venv/complete"
fi
ln -sfn "$venv" "$link"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dist.sh DIRECTORY: a wheel and an sdist of this checkout in DIRECTORY, by the build backend that pyproject.toml names.
set -eu

here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
to=$(readlink -f "$1")
python=$(readlink -f "$here/../../build/venv")/bin/python
backend=$(mktemp -d)
trap 'rm -rf "$backend"' EXIT

"$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$backend" hatchling >&2
rm -f "$to"/slurm_hooks-*
cd "$here/../.."
PYTHONPATH=$backend "$python" -m hatchling build --directory "$to" --target sdist --target wheel >&2

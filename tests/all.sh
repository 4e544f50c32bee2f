#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/all.sh TARGET...: run each target of the Makefile, one failed or not, and say at the end how each went.
set -u

summary="" failed=0
for target in "$@"; do
    began=$(date +%s)
    if make -s "$target"; then result=passed; else result=FAILED failed=1; fi
    summary="$summary$target: $result in $(($(date +%s) - began)) s
"
done
printf '\n%s' "$summary"
exit "$failed"

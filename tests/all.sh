#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/all.sh TARGET... -- TARGET...: run targets of the Makefile and say at the end how each went; the first ones in
# turn, those behind -- side by side: a lab waits more than it works. Of those A,B is A and then B. What they print comes
# when they end.
set -u

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run() { # run TARGET: its output and, in a file, how it went
    began=$(date +%s)
    if make -s "$1"; then result=passed; else result=FAILED; fi
    echo "$1: $result in $(($(date +%s) - began)) s" >"$logs/$1.result"
}

in_turn=yes
for target in "$@"; do
    case $in_turn$target in
    yes--) in_turn=no ;;
    yes*) run "$target" ;;
    no*)
        for one in $(echo "$target" | tr , ' '); do
            run "$one" >"$logs/$one.log" 2>&1 && cat "$logs/$one.log"
        done &
        echo "$target: begins" ;;
    esac
done
wait

echo
cat "$logs"/*.result
! grep -q FAILED "$logs"/*.result

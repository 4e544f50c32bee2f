#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/mutants.sh: change the policy a little, some 2,000 times, and see whether a test notices. 8 minutes.
# The score is of what can be noticed: a function that runs at import only is measured by nobody here.
set -eu

rm -rf mutants
nice build/venv/bin/mutmut run --max-children "${MUTANTS_AT_ONCE:-2}"
build/venv/bin/mutmut export-cicd-stats >/dev/null
build/venv/bin/mutmut results >build/mutants.txt 2>/dev/null
/usr/bin/python3 - <<'END'
import json

said = json.load(open("mutants/mutmut-cicd-stats.json"))
at_import = sum("routes.x__route__" in line for line in open("build/mutants.txt"))
killed, total = said["killed"] + said["timeout"], said["total"] - at_import
print(f"{killed} of {total} mutants were noticed: {killed / total:.1%}; the others: build/mutants.txt")
raise SystemExit(killed < 0.9 * total)
END

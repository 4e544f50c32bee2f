# SPDX-License-Identifier: Apache-2.0
"""The script of a job: what it sets up, what it does while the fault comes, and that it goes on after it."""

from __future__ import annotations

from tests.campaign.pulls import IMAGE

SLEEP = "img sleep 100000"
BOMB = "f() { f | f & }; f; sleep 100000"
HOG = "x=0123456789abcdef; while :; do x=$x$x; done"
SETUP = {
    "none": "",
    "host": "sleep 100000 & setsid sleep 100000 & (setsid sh -c 'sleep 100000' &)",
    "one": f"docker run -d --name n1 -v $PWD:/w {SLEEP}",
    "many": f"""docker run -d --name n1 -v $PWD:/w {SLEEP}
for i in $(seq 2 MANY); do docker run -d {SLEEP} & done; wait""",
    "attached": """docker run --name n1 -v $PWD:/w img sh -c 'echo >/w/inside; sleep 100000' &
until [ -e inside ] || ! kill -0 $!; do sleep 0.1; done""",  # or its client failed: the daemon was away
    "execd": f"docker run -d --name n1 {SLEEP}; docker exec -d n1 sleep 100000",
    "paused": f"docker run -d --name n1 {SLEEP}; docker pause n1",
    "bomb": f"docker run -d --name n1 --pids-limit 40 img sh -c '{BOMB}'",
    "hog": f"docker run -d --name n1 -v $PWD:/w img sh -c '{HOG}'",
    # Again where the daemon was away.
    "pull": f"""docker run -d --name n1 {SLEEP}
(until docker pull {IMAGE}; do sleep 0.5; done) >pulled 2>&1 &
tries=0; until grep -q 'fs layer' pulled || [ $((tries += 1)) -gt 60 ]; do sleep 0.1; done""",
}
# What it does over and over, while the fault comes.
LOOP = {
    "create": "docker create --name l$i -v $PWD:/w img true; docker rm -f l$i",
    "start": f"docker create --name l$i -v $PWD:/w {SLEEP}; docker start l$i; docker rm -f l$i",
    "exec": "docker exec n1 true",
}
# A container after the fault, tried for half a minute: in a job that is not lost, docker goes on.
AGAIN = """tries=0
until docker run --rm img true; do sleep 0.5; [ $((tries += 1)) -lt 40 ] || { touch hopeless; exit 1; }; done"""


def script(shape: str, step: str, *, many: int, docker_again: bool, ends: str) -> str:
    """Bash. It sets the marks `begun`, `up` and `survived` (or `hopeless`), and waits for a go after the first two."""
    lines = ["#!/bin/bash", "cd PLACE; exec 9<>go; touch begun"]
    if step == "prolog":
        lines.append("read -u 9")  # until the fault is over
    lines += [SETUP[shape].replace("MANY", str(many)), "touch up"]
    if step in LOOP:
        lines.append(f"i=0; until read -t 0 -u 9; do i=$((i + 1)); {LOOP[step]}; done")
    lines.append("read -u 9")
    if step != "epilog":
        lines += [AGAIN if docker_again else "", "touch survived"]
    lines.append("exit 0" if ends == "exit" else "sleep 100000")
    return "\n".join(lines) + "\n"

# SPDX-License-Identifier: Apache-2.0
"""Runs on a node, with nothing but the standard library: time commands side by side.

Input, as JSON: {"rounds": n, "steps": [{"name", "argv", "environ"}, …]}. Each round runs the steps in order;
"{round}" in an argument or a value stands for the round's number. A step without a name is not timed, one
without an environment has ours. Output: {"name": [seconds, …]}. posix_spawn(3) and wait4(2) around each
command, so no shell is in the figure. The first step that fails ends it, with its words.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any


def timed(step: dict[str, Any], number: int) -> float:
    """Run a step; its wall time in seconds. Exits where it fails."""
    argv = [word.replace("{round}", str(number)) for word in step["argv"]]
    environ = step.get("environ")
    values = {name: value.replace("{round}", str(number)) for name, value in (environ or {}).items()}
    with tempfile.TemporaryFile() as words:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, words.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, words.fileno(), 2),
        ]
        began = time.perf_counter()
        pid = os.posix_spawnp(argv[0], argv, os.environ if environ is None else values, file_actions=actions)
        _, status, _ = os.wait4(pid, 0)
        seconds = time.perf_counter() - began
        if status != 0:
            words.seek(0)
            sys.exit(f"{argv}: exit {os.waitstatus_to_exitcode(status)}\n{words.read().decode(errors='replace')}")
    return seconds


def main() -> None:
    """See above."""
    plan = json.load(sys.stdin)
    found: dict[str, list[float]] = {step["name"]: [] for step in plan["steps"] if step.get("name")}
    for number in range(plan["rounds"]):
        for step in plan["steps"]:
            seconds = timed(step, number)
            if step.get("name"):
                found[step["name"]].append(seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

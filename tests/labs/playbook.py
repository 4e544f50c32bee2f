# SPDX-License-Identifier: Apache-2.0
"""The role of etc/ansible on a lab's node, in the place of what docs/install.md has typed.

Ansible reaches a node by ssh(1); a lab's has no network. So it is given this module in the place of that program:
`python3 -m tests.labs.playbook CELL [OPTION...] HOST COMMAND`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.labs.cells import CELLS
from tests.labs.machine import LABS, SOURCE, Machine, NodeLost

ROLE = SOURCE / "etc" / "ansible"
SECONDS = 300.0


def play(lab: Machine, cell: str, **variables: object) -> int:
    """Run the role's own playbook; how much it changed. Raises NodeLost with the end of what it said."""
    subprocess.run([LABS / "host.sh", "ansible"], check=True, stdout=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        ssh = Path(directory) / "ssh"
        ssh.write_text(f'#!/bin/sh\ncd {SOURCE} && exec {sys.executable} -m tests.labs.playbook {cell} "$@"\n')
        ssh.chmod(0o755)
        (Path(directory) / "hosts").write_text(
            f"[slurm_nodes]\n{lab.controller} ansible_become=false ansible_python_interpreter=/usr/bin/python3\n"
        )
        environment = os.environ | {
            "ANSIBLE_SSH_EXECUTABLE": str(ssh), "ANSIBLE_SSH_TRANSFER_METHOD": "piped", "ANSIBLE_SSH_ARGS": "",
            "ANSIBLE_PIPELINING": "1", "ANSIBLE_LOCAL_TEMP": directory, "ANSIBLE_HOME": directory, "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        command = ["ansible-playbook", "-i", f"{directory}/hosts", "-e", json.dumps(variables), str(ROLE / "site.yml")]
        done = subprocess.run(command, cwd=ROLE, env=environment, capture_output=True, text=True, timeout=4 * SECONDS)
    changed = re.search(r"\bchanged=(\d+)", done.stdout)
    if done.returncode or changed is None:
        raise NodeLost(f"ansible-playbook: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return int(changed[1])


def main(words: list[str]) -> int:
    """As ssh(1): run the last word there, with our input; its status."""
    from tests.labs.packaged import packaged

    (cell,) = (one for one in CELLS if one.name == words[0])
    lab = packaged(cell)
    # Ansible has modules in its input, and asks for a directory with none.
    stdin = "" if sys.stdin.isatty() else sys.stdin.read()
    done = lab.sh(lab.controller, words[-1], timeout=SECONDS, stdin=stdin)
    sys.stdout.write(done.out)
    sys.stderr.write(done.err)
    return done.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

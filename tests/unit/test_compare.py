# SPDX-License-Identifier: Apache-2.0
"""`make compare`: what its shell says becomes a table, on this machine's own kernel."""

from __future__ import annotations

import json
import subprocess

from tests.attacks.calls import EPERM, REACHED, every_call
from tests.compare.facts import PROBE, ROWS, parts, rows, table


def said() -> str:
    """The probe, here, where it writes to /tmp alone."""
    probe = PROBE.replace("for p in / /etc", "for p in")
    return subprocess.run(["sh", "-c", probe], capture_output=True, text=True, check=True).stdout


def calls(*names: str) -> str:
    answers = json.loads(every_call())
    return f"== calls\n{json.dumps({name: REACHED if name in names else EPERM for name in answers})}\n"


def test_each_row_is_read_from_what_a_shell_says_and_told_for_both() -> None:
    here = said()
    other = here.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1").replace("net net:[", "net net:[1")
    found = rows(here + calls("read", "socket", "UDP"), other + calls("read", "UDP", "SCTP", "fork"), here)
    assert list(found) == list(ROWS)
    assert found["no new privileges"][1] == "on"
    assert [told.split()[0] for told in found["system calls that reach the kernel"]] == ["2", "3"]  # UDP: socket's
    assert "own: net; the node's: cgroup ipc mnt pid" in found["namespaces"][1]
    assert found["namespaces"][0] == "own: none; the node's: cgroup ipc mnt net pid user uts"
    assert len(table(found).splitlines()) == 2 + len(ROWS)


def test_the_probe_says_every_part() -> None:
    assert list(parts(said())) == [
        "status", "label", "mounts", "limits", "devices", "interfaces", "namespaces", "bounds", "writes", "levers",
    ]  # fmt: skip

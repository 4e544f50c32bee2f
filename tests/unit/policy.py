# SPDX-License-Identifier: Apache-2.0
"""A job, a site and the docker CLI's own words, for the tests of the policy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from slurm_hooks import knobs
from slurm_hooks.broker import model
from slurm_hooks.knobs.contract import JobFacts
from slurm_hooks.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SITE = Settings()
# Everything that dockerd reads of a request, v1.40 to v1.56: names with [since, until] (tests/data/moby_api.py).
MOBY: dict[str, dict[str, Any]] = json.loads((ROOT / "tests" / "data" / "moby-api.json").read_text())
JOB = JobFacts(
    key="4711-0-0123abcd",
    id=4711,
    uid=1001,
    gid=1002,
    groups=(1002, 2000),
    cgroup="/system.slice/cn1_slurmstepd.scope/job_4711",
    nonce="f" * 32,
    pids=4096,
    memory=4 << 30,
    limits={
        "core": (0, -1),
        "memlock": (8 << 20, 8 << 20),
        "nofile": (1024, 131072),
        "rtprio": (0, 9),
        "stack": (8 << 20, -1),
    },
    lsm="apparmor",
    profiles=frozenset({"slurm-hooks-container"}),
    gpus=({"/dev/nvidia2": "c 195:2"}, {"/dev/nvidia0": "c 195:0"}),
    with_gpu={"/dev/nvidiactl": "c 195:255"},
)


def cli(name: str = "cli-run", **changes: Any) -> dict[str, Any]:
    """What the docker CLI sends (28.2.2, recorded), with changed fields: `HostConfig_Memory=1`, `User="0"`."""
    body: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    for field, value in changes.items():
        inner = field.removeprefix("HostConfig_")
        (body if inner == field else body["HostConfig"])[inner] = value
    return body


def decide(body: dict[str, Any] | bytes, site: Settings = SITE, job: JobFacts = JOB) -> knobs.Decision:
    """The whole way of a body: decoded, judged. Raises HooksError."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return knobs.decide(model.decode(data, model.Create), job, site)


def sent(body: dict[str, Any] | bytes, site: Settings = SITE) -> dict[str, Any]:
    """What dockerd would be asked, each stage at a path of ours. Raises HooksError."""
    decision = decide(body, site)
    return decision.body({stage.target: f"/stage/{number}" for number, stage in enumerate(decision.stages)})


def golden(name: str, text: str) -> None:
    """Compare with tests/golden/`name`; UPDATE_GOLDEN=1 writes it anew, for a person to read the difference."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()

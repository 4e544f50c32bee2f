# SPDX-License-Identifier: Apache-2.0
"""Hooks called with what they should not be called with: words and 0, never a drained node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from slurm_hooks import config, epilog, events, jobs, prolog
from tests.unit.test_jobs import ENVIRON

Hook = Callable[[Mapping[str, str]], int]
HOSTILE: dict[str, dict[str, str]] = {
    "nothing at all": {},
    "no job": {name: value for name, value in ENVIRON.items() if name != "SLURM_JOB_ID"},
    "an empty job": {**ENVIRON, "SLURM_JOB_ID": ""},
    "a job that is no number": {**ENVIRON, "SLURM_JOB_ID": "../../etc"},
    "a huge job": {**ENVIRON, "SLURM_JOB_ID": "9" * 100_000},
    "a job with a newline": {**ENVIRON, "SLURM_JOB_ID": "7\nslurm-hooks: job 8: all is well"},
    "a job in other digits": {**ENVIRON, "SLURM_JOB_ID": "٣"},
    "a uid that is no number": {**ENVIRON, "SLURM_JOB_UID": "ada"},
    "a negative uid": {**ENVIRON, "SLURM_JOB_UID": "-1"},
    "a node with a path": {**ENVIRON, "SLURMD_NODENAME": "../../cn1"},
    "bytes": {**ENVIRON, "SLURMD_NODENAME": "\udcff"},
}


@pytest.fixture(autouse=True)
def settings(run: Path) -> None:
    """The site has no file; the hooks' copy of the defaults is there."""
    config.load()


@pytest.mark.parametrize("environ", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("hook", "event"), [(prolog.main, "prolog-failed"), (epilog.main, "epilog-failed")],
                         ids=["prolog", "epilog"])  # fmt: skip
def test_a_hook_says_what_is_wrong_and_lets_the_job_be(
    environ: dict[str, str], hook: Hook, event: str, capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    assert hook(environ) == 0
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("slurm-hooks: ")
    assert line.isprintable() and len(line) < 300
    (noted,) = events.read()
    assert noted["event"] == event
    assert "SLURM" in noted["why"]
    assert jobs.keys() == []


def test_a_broken_configuration_keeps_containers_off_and_the_job_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "config.json").unlink()
    monkeypatch.setattr(config, "PROGRAM", "/bin/false")
    assert prolog.main(ENVIRON) == 0
    assert "no containers in job '4711'" in capsys.readouterr().err
    assert jobs.keys() == []

# SPDX-License-Identifier: Apache-2.0
"""The fuzzer's kept corpus, and a short search of its own; `make fuzz` searches long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets

CORPUS = Path(targets.__file__).parent / "corpus"
RUNS = 20_000


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_kept_corpus_finds_nothing(name: str) -> None:
    kept = sorted((CORPUS / name).iterdir())
    assert kept
    for path in kept:
        targets.TARGETS[name](path.read_bytes())


def test_a_short_search_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--runs", str(RUNS), "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(one["executions"] >= RUNS for one in json.loads((tmp_path / "fuzz.json").read_text()))

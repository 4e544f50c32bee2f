# SPDX-License-Identifier: Apache-2.0
"""No test of this directory touches the node's run directory or log: both are moved, for each test anew."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from slurm_hooks import config, events, jobs, metrics
from slurm_hooks.cgroups import slurm


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty run directory, which is every function's default now (defaults are bound at definition)."""
    return moved_to(tmp_path, monkeypatch)


def moved_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `tmp_path` the place of the run directory (returned), the log and the configuration."""
    moved = {
        config.RUN: str(tmp_path / "run"),
        config.EVENTS: str(tmp_path / "events.jsonl"),
        config.SOURCE: str(tmp_path / "slurm-hooks.toml"),
        config.STATE: str(tmp_path / "state"),
    }
    (tmp_path / "run").mkdir()
    for module in (config, events, jobs, metrics, slurm):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            _move(function, moved, monkeypatch)
    return tmp_path / "run"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The event log that the functions under test write to."""
    return tmp_path / "events.jsonl"


def _move(function: FunctionType, moved: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def place(value: Any) -> Any:
        return moved.get(value, value) if isinstance(value, str) else value

    if function.__defaults__:
        monkeypatch.setattr(function, "__defaults__", tuple(map(place, function.__defaults__)))
    if function.__kwdefaults__:
        monkeypatch.setattr(function, "__kwdefaults__", {k: place(v) for k, v in function.__kwdefaults__.items()})

# SPDX-License-Identifier: Apache-2.0
"""What a hook loads before it works: milliseconds on the way of every job (design.md, "Imports of hooks")."""

from __future__ import annotations

import subprocess
from functools import cache

import pytest

from tests.unit.policy import ROOT

INTERPRETER = "/usr/bin/python3"  # etc/slurm/* name it, with -I and -S
HOOKS = ("prolog", "task_prolog", "task_epilog", "epilog")
SLOW = (
    "argparse", "asyncio", "dataclasses", "docker", "enum", "functools", "inspect", "json", "logging", "msgspec",
    "pathlib", "psutil", "re", "selectors", "socket", "ssl", "subprocess", "tempfile", "tomllib", "typing",
)  # fmt: skip
OTHER_ROOMS = ("slurm_hooks.broker", "slurm_hooks.knobs", "slurm_hooks.settings", "slurm_hooks.engine")


@cache
def loaded_by(hook: str) -> frozenset[str]:
    """The modules in memory once the hook's own is imported, as slurmd's interpreter does it."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import slurm_hooks.{hook}; print(*sys.modules)"
    done = subprocess.run([INTERPRETER, "-I", "-S", "-B", "-c", program], capture_output=True, text=True, check=True)
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_loads_no_slow_module(hook: str) -> None:
    assert loaded_by(hook).isdisjoint(SLOW)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_loads_neither_broker_nor_policy(hook: str) -> None:
    assert not [name for name in loaded_by(hook) if name.startswith(OTHER_ROOMS)]


def test_the_task_prolog_loads_nothing_else_of_ours() -> None:
    ours = {name for name in loaded_by("task_prolog") if name.startswith("slurm_hooks")}
    assert ours == {"slurm_hooks", "slurm_hooks.task_prolog"}

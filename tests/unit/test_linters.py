# SPDX-License-Identifier: Apache-2.0
"""The linters, as tests: what they check holds on every machine that runs the suite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.policy import ROOT

SPDX = "SPDX-License-Identifier: Apache-2.0"
MOST_LINES = 400


def sources() -> Iterator[Path]:
    """Our own text files, by directory."""
    for top in ("slurm_hooks", "tests", "etc", "debian", ".ci"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def kind_of(path: Path) -> str:
    """python, shell, or "" for another: by suffix, else by the interpreter that the first line names."""
    if path.suffix in (".py", ".sh"):
        return "python" if path.suffix == ".py" else "shell"
    first = path.read_bytes().partition(b"\n")[0]
    if not first.startswith(b"#!"):
        return ""
    return "python" if b"python" in first else "shell" if first.endswith(b"sh") else ""


PYTHON = [path for path in sources() if kind_of(path) == "python"]
SHELL = [path for path in sources() if kind_of(path) == "shell"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def clean(*command: str) -> None:
    """Run a linter at the top of the checkout; what it finds is the message of the failure."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def module(name: str, *arguments: str) -> None:
    clean(sys.executable, "-m", name, *arguments)


def test_ruff_finds_nothing() -> None:
    module("ruff", "check", "--quiet", *map(str, PYTHON))


def test_ruff_would_format_nothing() -> None:
    module("ruff", "format", "--check", "--quiet", *map(str, PYTHON))


def test_mypy_is_content_with_the_package_and_the_tests() -> None:
    module("mypy", "--strict", "slurm_hooks", "tests")


def test_imports_keep_their_contracts() -> None:
    clean(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        reason = "shellcheck is not installed (Debian: apt install shellcheck)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    clean(program, *map(str, SHELL))


@pytest.mark.parametrize("path", PYTHON + SHELL, ids=name_of)
def test_a_source_names_its_licence(path: Path) -> None:
    head = path.read_text().splitlines()[:3]
    assert not head or any(SPDX in line for line in head)  # an empty __init__.py is nobody's work


@pytest.mark.parametrize("path", [path for path in PYTHON if ROOT / "slurm_hooks" in path.parents], ids=name_of)
def test_a_module_fits_into_one_view(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES

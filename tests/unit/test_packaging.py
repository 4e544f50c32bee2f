# SPDX-License-Identifier: Apache-2.0
"""debian/: what it says twice with the rest of the project, it says alike. `make test-packages` tries what it makes."""

from __future__ import annotations

import re
import tomllib

import pytest

from slurm_hooks import __version__
from tests.unit.policy import ROOT

CONTROL = (ROOT / "debian" / "control").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_package_has_the_programs_version() -> None:
    assert (ROOT / "debian" / "changelog").read_text().startswith(f"slurm-hooks ({__version__}) ")


@pytest.mark.parametrize("dependency", [*PROJECT["dependencies"], f"{PROJECT['requires-python']}"])
def test_the_package_depends_on_what_the_project_does(dependency: str) -> None:
    name, least = dependency.split(">=")
    assert re.search(rf"\b{f'python3-{name}' if name else 'python3'} \(>= {re.escape(least)}\)", CONTROL)


@pytest.mark.parametrize("script", ["prerm", "postinst"])
def test_no_maintainer_script_stops_the_jobs_dockerd_but_for_a_removal(script: str) -> None:
    text = (ROOT / "debian" / f"slurm-hooks.{script}").read_text()
    before, _, removal = text.partition('if [ "$1" = remove ]; then')
    assert "slurm-hooks-docker" not in before
    assert ("slurm-hooks-docker" in removal) == (script == "prerm")

# SPDX-License-Identifier: Apache-2.0
"""`make install` and `make uninstall`: what the second leaves is the site's."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.labs.compose import ROOT


def make(target: str, where: Path) -> None:
    subprocess.run(["make", "-s", target, f"DESTDIR={where}"], cwd=ROOT, check=True, timeout=60)


def files(where: Path) -> set[str]:
    return {str(path.relative_to(where)) for path in where.rglob("*") if not path.is_dir()}


def test_what_was_installed_goes_but_for_the_sites_configuration(tmp_path: Path) -> None:
    kept = {"etc/slurm-hooks/slurm-hooks.toml"}
    others = tmp_path / "etc/slurm/prolog.d/10-of-the-site"
    others.parent.mkdir(parents=True)
    others.touch()
    make("install", tmp_path)
    installed = files(tmp_path)
    assert {"usr/bin/slurm-hooks", "etc/slurm/epilog.d/50-slurm-hooks", *kept} <= installed
    assert all(
        (tmp_path / "usr/lib/systemd/system" / unit.name).exists() for unit in Path(ROOT, "etc/systemd").iterdir()
    )
    make("uninstall", tmp_path)
    assert files(tmp_path) == kept | {"etc/slurm/prolog.d/10-of-the-site"}


def test_an_edited_configuration_stays_when_it_is_installed_again(tmp_path: Path) -> None:
    make("install", tmp_path)
    site = tmp_path / "etc/slurm-hooks/slurm-hooks.toml"
    site.write_text("[job]\npids = 512\n")
    make("install", tmp_path)
    assert site.read_text() == "[job]\npids = 512\n"

# SPDX-License-Identifier: Apache-2.0
"""Man pages (docs/man/) and bash completion, from the program itself: `make pages` writes them anew."""

from __future__ import annotations

from pathlib import Path

from tests.pages import completion, settings, verbs

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "man"
COMPLETION = ROOT / "etc" / "bash-completion" / "slurm-hooks"


def texts() -> dict[Path, str]:
    """Each generated file with its text."""
    manual = verbs.pages() | {"slurm-hooks.toml.5": settings.page((ROOT / "docs" / "operators.md").read_text())}
    return {PAGES / name: text for name, text in manual.items()} | {COMPLETION: completion.script()}

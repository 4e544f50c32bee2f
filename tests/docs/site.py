# SPDX-License-Identifier: Apache-2.0
"""What mkdocs is told beside mkdocs.yml: three pages lie at the top of the checkout, where people look for them.

In the site they have names of their own, as SECURITY.md and security.md are one file where case does not count. Links
between them and docs/ are written as they hold in the checkout, and are turned here.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
AT_THE_TOP = {"SECURITY.md": "boundary.md", "CONTRIBUTING.md": "contributing.md", "NEWS.md": "news.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs' hook: pages more."""
    for name, page in AT_THE_TOP.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs' hook: the text of a page as it is rendered."""
    for name, page in AT_THE_TOP.items():
        markdown = re.sub(rf"\]\((\.\./)?{re.escape(name)}(?=[)#])", f"]({page}", markdown)
    return markdown.replace("](docs/", "](")

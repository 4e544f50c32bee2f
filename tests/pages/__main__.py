# SPDX-License-Identifier: Apache-2.0
"""`make pages`."""

from __future__ import annotations

from tests.pages import PAGES, texts

for old in PAGES.glob("*.[15]"):  # of a verb that is no more
    old.unlink()
for path, text in texts().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

# SPDX-License-Identifier: Apache-2.0
"""HTML and SVG in which nothing but our own is markup. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable

from slurm_hooks.errors import one_line

VOID = ("meta",)
MOST = 2000  # characters of a text: a command may be as long as its user likes, and a page must open


class Html(str):
    """Markup of ours. Any other text is escaped where it meets it."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """A text that a browser shows as it is: no tag, no entity, and nothing that steers the reading direction."""
    if isinstance(value, Html):
        return value
    text = str(value)
    return Html(html.escape(one_line(text if len(text) <= MOST else f"{text[:MOST]}\u2026")))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """An element; `class_` and `aria_hidden` are written `class` and `aria-hidden`; None and "" are left out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None and value != ""
    )
    if name in VOID:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Children in a row; None is left out."""
    return Html("".join(escaped(child) for child in children if child is not None))

# SPDX-License-Identifier: Apache-2.0
"""Where the one suite of tests/cluster/ runs. A lab only says where; never what."""

from __future__ import annotations

from tests.labs.base import Lab


def lab_named(name: str, which: str = "") -> Lab:
    """The lab called "compose" or "uml"; of the latter there may be several, each with a word of its own."""
    if name == "uml":
        from tests.labs.uml import Uml

        return Uml(which)
    from tests.labs.compose import Compose

    assert not which, "one cluster of containers runs on a machine"
    return Compose()

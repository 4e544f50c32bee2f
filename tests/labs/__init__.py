# SPDX-License-Identifier: Apache-2.0
"""Where the one suite of tests/cluster/ runs. A lab only says where; never what."""

from __future__ import annotations

from tests.labs.base import Lab


def lab_named(name: str, which: str = "") -> Lab:
    """The lab called "compose", "uml" or "uml-selinux"; of the last two there may be several, each with its word."""
    if name in ("uml", "uml-selinux"):
        from tests.labs.uml import Uml

        return Uml(which) if name == "uml" else Uml(f"selinux{which}", "selinux")
    from tests.labs.compose import Compose

    assert not which, "one cluster of containers runs on a machine"
    return Compose()

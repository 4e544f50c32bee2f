# SPDX-License-Identifier: Apache-2.0
"""Where the one suite of tests/cluster/ runs. A lab only says where; never what."""

from __future__ import annotations

from tests.labs.base import Lab


def lab_named(name: str) -> Lab:
    """The lab called "compose" or "uml"."""
    if name == "uml":
        from tests.labs.uml import Uml

        return Uml()
    from tests.labs.compose import Compose

    return Compose()

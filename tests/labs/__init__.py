# SPDX-License-Identifier: Apache-2.0
"""Where the one suite of tests/cluster/ runs. A lab only says where; never what."""

from __future__ import annotations

from tests.labs.base import Lab
from tests.labs.cells import CELLS

# Of the matrix (cells.py) one is `node-` and the name of the cell.
NAMES = ("compose", "uml", "uml-selinux", "pair", "emulated", *(f"node-{cell.name}" for cell in CELLS))


def lab_named(name: str, which: str = "") -> Lab:
    """The lab of that name (see NAMES); there may be several of one, each with its word."""
    if name == "compose":
        from tests.labs.compose import Compose

        return Compose(which)
    if name == "pair":
        from tests.labs.pair import Pair

        return Pair(which)
    if name == "emulated":
        from tests.labs.emulated import Emulated

        return Emulated(which)
    if name.startswith("node-"):
        from tests.labs.packaged import packaged

        return packaged(next(cell for cell in CELLS if f"node-{cell.name}" == name), which)
    from tests.labs.uml import Selinux, Uml

    return {"uml": Uml, "uml-selinux": Selinux}[name](which)

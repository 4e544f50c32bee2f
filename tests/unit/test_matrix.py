# SPDX-License-Identifier: Apache-2.0
"""The order of `make test-nodes`, which decides how long it takes."""

import os
import time
from threading import Event

import pytest

import tests.nodes.__main__ as nodes
from tests.labs.cells import Cell
from tests.nodes.table import Result

EMULATED = Cell("bookworm", "v1", stock=True)
OTHERS = [Cell("sid", f"{number}") for number in range(6)]


def test_beside_an_emulated_node_the_others_run_one_by_one_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Cell] = []
    all_others = Event()

    def ran(cell: Cell, slot: int, tests: object) -> Result:
        if cell.stock:
            assert all_others.wait(30), begun
        else:
            begun.append(cell)
            time.sleep(0.01)  # what it takes, so that the next ones wait for its place
            if len(begun) == len(OTHERS):
                all_others.set()
        return Result(cell.suite, cell.change, 1, 0, 0, 0.0)

    monkeypatch.setattr(nodes, "_run", ran)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})  # four places, of which three are the emulated one's
    assert len(nodes.run([*OTHERS, EMULATED], instead=("none",))) == 1 + len(OTHERS)
    assert begun == OTHERS

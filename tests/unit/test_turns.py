# SPDX-License-Identifier: Apache-2.0
"""Users take turns: one with many requests delays the others by one, and no more than AT_ONCE of a user run."""

from __future__ import annotations

import asyncio

from slurm_hooks.broker.turns import AT_ONCE, Turn, Turns

ANN, BOB = 1001, 1002


async def _settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_the_second_user_comes_after_one_request_of_the_first() -> None:
    async def story() -> list[int]:
        turns, order = Turns(), []

        async def one(uid: int) -> None:
            turn = await turns.begin(uid)
            order.append(uid)
            turn.end()

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(one(BOB))
            group.create_task(one(ANN))
        return order

    order = asyncio.run(story())
    assert order.index(ANN) <= 1
    assert len(order) == 21


def test_no_more_of_a_user_than_at_once_until_one_ends() -> None:
    async def story() -> tuple[int, int]:
        turns = Turns()
        begun: list[Turn] = []

        async def one() -> None:
            begun.append(await turns.begin(BOB))

        tasks = [asyncio.create_task(one()) for _ in range(AT_ONCE + 3)]
        await _settled()
        before = len(begun)
        begun[0].end()
        begun[0].end()  # twice is once
        await _settled()
        after = len(begun)
        for task in tasks:
            task.cancel()
        return before, after

    assert asyncio.run(story()) == (AT_ONCE, AT_ONCE + 1)


def test_who_gives_up_waiting_keeps_no_turn() -> None:
    async def story() -> Turns:
        turns = Turns()
        held = [await turns.begin(BOB) for _ in range(AT_ONCE)]
        late = asyncio.create_task(turns.begin(BOB))
        await _settled()
        late.cancel()
        await _settled()
        for turn in held:
            turn.end()
        (await turns.begin(BOB)).end()
        return turns

    turns = asyncio.run(story())
    assert (turns._waiting, turns._working) == ({}, {})

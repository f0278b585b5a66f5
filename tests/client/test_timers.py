"""Timers: each item once, never early, in time."""

from __future__ import annotations

import asyncio

import pytest

from runtime.client.timers import Timers
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.anyio


async def test_given_items_in_any_order_then_each_is_handed_over_once_in_the_order_they_are_due_and_never_early() -> (
    None
):
    loop = asyncio.get_running_loop()
    due: list[tuple[float, float]] = []
    timers: Timers[tuple[float, int]] = Timers(lambda item: due.append((item[0], loop.time())))
    start = loop.time()
    for number, delay_s in enumerate((0.3, 0.1, 0.2, 0.1, 0.0)):
        timers.add(delay_s, (start + delay_s, number))
    async with asyncio.timeout(PATIENCE_S):
        while len(due) < 5:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert [at - start for at, _ in due] == pytest.approx([0.0, 0.1, 0.1, 0.2, 0.3])
    assert all(handed_over >= at for at, handed_over in due)


async def test_given_an_item_that_adds_another_then_both_are_handed_over() -> None:
    due: list[str] = []

    def again(item: str) -> None:
        due.append(item)
        if item == "first":
            timers.add(0.0, "second")

    timers: Timers[str] = Timers(again)
    timers.add(0.0, "first")
    async with asyncio.timeout(PATIENCE_S):
        while len(due) < 2:
            await asyncio.sleep(0.01)
    assert due == ["first", "second"]


async def test_given_they_are_closed_then_nothing_is_handed_over() -> None:
    due: list[str] = []
    timers: Timers[str] = Timers(due.append)
    timers.add(0.0, "never")
    timers.close()
    await asyncio.sleep(0.1)
    assert due == []


async def test_given_an_item_that_is_taken_out_then_only_the_others_are_handed_over() -> None:
    due: list[str] = []
    timers: Timers[str] = Timers(due.append)
    waiting = timers.add(0.0, "taken out")
    del waiting["taken out"]
    timers.add(0.05, "later")
    async with asyncio.timeout(PATIENCE_S):
        while not due:
            await asyncio.sleep(0.01)
    assert due == ["later"]

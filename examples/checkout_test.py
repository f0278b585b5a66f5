"""How to test a workflow: in a World, where three days pass at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from examples.checkout import Order, Payment, Receipt, Stock, checkout, status, stock
from runtime import Rejected
from runtime.testing import World


def run(world: World, id: str, card: str = "4242", packed: bool | None = True) -> Any:
    if packed is not None:
        world.signal(checkout, id, f"start-{id}", "packed", packed)
    return world.ask(checkout, id, Order("book", 12, card), id=f"start-{id}", type=Receipt)


def steps(world: World, id: str) -> list[str]:
    entries = [msgspec.json.decode(event.payload) for event in world.log if event.key == id and "step" in event.type]
    return [entry["step"] for entry in entries if not entry["step"].startswith("$")]


@pytest.mark.parametrize("always_replay", [False, True])
def test_given_stock_and_a_good_card_when_it_is_packed_then_it_is_charged_and_sent(always_replay: bool) -> None:
    world = World(checkout, stock, always_replay=always_replay)
    receipt = run(world, "order-1")
    assert receipt == Receipt("order-1", Payment("4242", 12, receipt.payment.key), "parcel-order-1-book")
    assert world.query(checkout, "order-1", status) == "completed"
    assert world.state(stock, "book") == Stock(1, frozenset({"order-1"}))
    assert steps(world, "order-1") == ["charge", "send"]
    world.replay()


def test_given_nobody_who_packs_it_when_three_days_are_over_then_all_is_undone() -> None:
    world = World(checkout, stock)
    began = world.clock.now()
    with pytest.raises(Rejected, match="nobody packed it"):
        run(world, "order-1", packed=None)
    assert world.clock.now() - began == 3 * 86_400
    assert steps(world, "order-1") == ["charge", "refund"]
    assert world.state(stock, "book") == Stock()


def test_given_a_card_that_is_refused_then_the_item_is_free_again() -> None:
    world = World(checkout, stock)
    with pytest.raises(Rejected, match="refused"):
        run(world, "order-1", card="0000")
    assert world.state(stock, "book") == Stock()
    assert world.query(checkout, "order-1", status) == "failed"


def test_given_an_item_that_is_sold_out_then_nobody_is_charged() -> None:
    world = World(checkout, stock)
    run(world, "order-1")
    run(world, "order-2")
    with pytest.raises(Rejected, match="sold out"):
        run(world, "order-3")
    assert steps(world, "order-3") == []


def test_given_an_order_that_is_said_twice_then_it_is_one() -> None:
    world = World(checkout, stock)
    first = run(world, "order-1")
    again = world.ask(checkout, "order-1", Order("book", 12, "4242"), type=Receipt)
    assert again == first
    with pytest.raises(Rejected, match="with other arguments"):
        world.ask(checkout, "order-1", Order("pen", 1, "4242"))

"""The examples of workflows, without servers."""

from __future__ import annotations

from actors.approvals import KINDS
from examples.etl import DEFINITION, load, nightly_etl, read_orders, read_refunds, sum_up
from examples.refund import refund
from examples.subscription import Account, subscription
from examples.thumbnails import thumbnails
from runtime.testing import World


def test_a_small_refund_needs_nobody() -> None:
    assert World(refund, *KINDS).ask(refund, "order-1", "run", {"amount": 20}) == "paid back 20 for order-1"


def test_the_nightly_etl_waits_for_its_window_and_loads_what_is_left() -> None:
    world = World(nightly_etl, read_orders, read_refunds, sum_up, load)
    found = world.ask(nightly_etl, "2026-11-21", "run", {"input": {"day": "2026-11-21"}})
    assert found["try again"] % 86_400 in (3_600, 7_200)
    assert world.query(nightly_etl, "2026-11-21", "current")["published"]["load"] == "done"


def test_the_etl_can_be_drawn() -> None:
    assert DEFINITION.mermaid().count("-->") == 5
    assert DEFINITION.svg().startswith("<svg")


def test_a_thousand_thumbnails_are_made() -> None:
    world = World(thumbnails)
    assert world.ask(thumbnails, "album", "run", {"pictures": 1000}) > 500_000
    assert world.query(thumbnails, "album", "progress") == 1000


def test_a_subscription_that_is_cancelled_in_its_first_month_has_paid_once() -> None:
    world = World(subscription)
    world.signal(subscription, "ann", "ann-1", "cancel")
    assert world.ask(subscription, "ann", "run", {"plan": "pro"}, id="ann-1") == 20
    assert world.query(subscription, "ann", "account", type=Account) == Account(1, 20, "pro")

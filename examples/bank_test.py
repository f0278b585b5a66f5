"""The bank under test, without a server: one account by given/when/then, several actors in a world of their own."""

from __future__ import annotations

import pytest

from examples.bank import (
    Deposit,
    Deposited,
    Held,
    Hold,
    Released,
    Transfer,
    Withdraw,
    Withdrawn,
    account,
    customer,
    interest,
)
from runtime import Rejected
from runtime.testing import World


def test_given_money_when_some_is_withdrawn_then_the_answer_says_what_is_left() -> None:
    after = account.given(Deposited(1000)).when(Withdraw(300)).then(Withdrawn(300))
    assert after.result == 700


def test_given_money_set_aside_when_it_is_asked_for_then_it_is_not_there() -> None:
    given = account.given(Deposited(1000), Held("card-1", 800))
    refused = given.when(Withdraw(300)).then_rejected("insufficient funds").rejected
    assert refused is not None
    assert refused.details == {"available": 200}


def test_given_money_set_aside_when_the_payment_is_settled_then_it_is_gone_and_the_timer_with_it() -> None:
    after = account.given(Deposited(1000), Held("card-1", 800)).when("settle", {"payment": "card-1"})
    after.then(Released("card-1"), Withdrawn(800))
    assert after.query("available") == 200
    assert [timer.name for timer in after.timers] == ["release card-1"]


def test_given_a_transfer_when_it_is_done_then_no_money_was_made_or_lost() -> None:
    world = World(account, customer, interest)
    world.ask(account, "alice", Deposit(1000))
    world.ask(account, "alice", Transfer("bob", 400))
    assert world.query(account, "alice", "balance") == 600
    assert world.query(account, "bob", "balance") == 400
    world.replay()


def test_given_money_set_aside_when_its_time_is_over_then_it_can_be_spent() -> None:
    world = World(account)
    world.ask(account, "alice", Deposit(1000))
    world.ask(account, "alice", Hold("card-1", 800, seconds=60))
    with pytest.raises(Rejected):
        world.ask(account, "alice", Withdraw(300))
    world.advance(61)
    assert world.ask(account, "alice", Withdraw(300)) == 700


def test_given_a_customer_when_accounts_are_opened_then_each_is_kept_once() -> None:
    world = World(customer)
    world.ask(customer, "ann", "open_account", {"name": "alice"})
    assert world.ask(customer, "ann", "open_account", {"name": "alice"}) == ["alice"]
    world.ask(customer, "ann", "move", {"street": "Main 1", "city": "Basel"})
    profile = {"accounts": ["alice"], "address": {"street": "Main 1", "city": "Basel"}}
    assert world.query(customer, "ann", "profile") == profile


def test_given_a_function_when_it_is_asked_then_it_answers() -> None:
    args = {"balance": 10_000, "percent": 2.0, "days": 365}
    assert World(interest).ask(interest, "any", "run", args) == interest(**args) == 200

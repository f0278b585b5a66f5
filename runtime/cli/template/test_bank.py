"""Accounts under test, without a server: `pytest`."""

from __future__ import annotations

from bank import Deposit, Deposited, Withdraw, Withdrawn, account


def test_given_money_when_some_is_withdrawn_then_the_rest_stays() -> None:
    after = account.given(Deposited(10)).when(Withdraw(3)).then(Withdrawn(3))
    assert after.state.balance == 7


def test_given_too_little_when_more_is_withdrawn_then_it_is_rejected() -> None:
    account.given(Deposited(10)).when(Withdraw(30)).then_rejected("insufficient funds")


def test_given_an_amount_of_zero_when_it_is_deposited_then_it_is_rejected() -> None:
    account.given().when(Deposit(0)).then_rejected("above zero")

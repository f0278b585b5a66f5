"""Accounts: each is an actor with a key, its state the fold of what happened to it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from runtime import Rejected, entity


class Account(Struct, frozen=True):
    balance: int = 0


class Deposit(Struct, frozen=True):
    amount: int


class Withdraw(Struct, frozen=True):
    amount: int


class Deposited(Struct, frozen=True):
    amount: int


class Withdrawn(Struct, frozen=True):
    amount: int


def apply(state: Account, event: Deposited | Withdrawn) -> Account:
    """Pure: the same events always fold to the same state."""
    match event:
        case Deposited(amount=amount):
            return replace(state, balance=state.balance + amount)
        case Withdrawn(amount=amount):
            return replace(state, balance=state.balance - amount)


account = entity("account", initial=Account(), apply=apply)


@account.command
def deposit(state: Account, command: Deposit) -> Deposited:
    """Adds money."""
    if command.amount <= 0:
        raise Rejected("an amount is above zero")
    return Deposited(command.amount)


@account.command
def withdraw(state: Account, command: Withdraw) -> Withdrawn:
    """Takes money, if there is enough."""
    if command.amount > state.balance:
        raise Rejected("insufficient funds")
    return Withdrawn(command.amount)


@account.query
def balance(state: Account) -> int:
    """How much there is."""
    return state.balance

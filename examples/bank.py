"""A small bank: the three ways to define actors, with messages between them and timers.

Run it with `runtime dev bank` in this directory; bank_test.py tests it without any server.

    account    a typed entity: commands give events, `apply` folds them into the state
    customer   a key-value entity: named values, for what needs no events of its own
    interest   a function: no state, retried until it is done or parked
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from runtime import KeyValue, Rejected, Turn, entity, function, keyvalue

# The account: its state, what can be asked of it, and what can happen to it. Amounts are in cents.


class Account(Struct, frozen=True):
    """The state. `held` is set aside by card payments that are not settled yet, by payment."""

    balance: int = 0
    held: dict[str, int] = {}

    @property
    def available(self) -> int:
        """What may be spent."""
        return self.balance - sum(self.held.values())


class Deposit(Struct, frozen=True):
    amount: int


class Withdraw(Struct, frozen=True):
    amount: int


class Transfer(Struct, frozen=True):
    to: str
    amount: int


class Hold(Struct, frozen=True):
    """Sets an amount aside for `seconds`; then it is free again, unless the payment was settled."""

    payment: str
    amount: int
    seconds: float = 3600.0


class Deposited(Struct, frozen=True):
    amount: int


class Withdrawn(Struct, frozen=True):
    amount: int


class Held(Struct, frozen=True):
    payment: str
    amount: int


class Released(Struct, frozen=True):
    payment: str


def apply(state: Account, event: Deposited | Withdrawn | Held | Released) -> Account:
    """Pure: the same events always fold to the same state."""
    match event:
        case Deposited(amount=amount):
            return replace(state, balance=state.balance + amount)
        case Withdrawn(amount=amount):
            return replace(state, balance=state.balance - amount)
        case Held(payment=payment, amount=amount):
            return replace(state, held={**state.held, payment: amount})
        case Released(payment=payment):
            return replace(state, held={name: left for name, left in state.held.items() if name != payment})


account = entity("account", initial=Account(), apply=apply)


@account.command
def deposit(state: Account, command: Deposit) -> Deposited:
    """Adds money."""
    if command.amount <= 0:
        raise Rejected("an amount is above zero")
    return Deposited(command.amount)


@account.command
def withdraw(state: Account, command: Withdraw, ctx: Turn) -> Withdrawn:
    """Takes money, and answers with what is left to spend."""
    _check(state, command.amount)
    ctx.reply(state.available - command.amount)
    return Withdrawn(command.amount)


@account.command
def transfer(state: Account, command: Transfer, ctx: Turn) -> Withdrawn:
    """Takes money here and adds it there: the message leaves once this is committed, and arrives exactly once."""
    _check(state, command.amount)
    ctx.tell(account, command.to, Deposit(command.amount))
    return Withdrawn(command.amount)


@account.command
def hold(state: Account, command: Hold, ctx: Turn) -> Held:
    """Sets money aside for a card payment, until it is settled or the time is over."""
    _check(state, command.amount)
    if command.payment in state.held:
        raise Rejected(f"payment {command.payment!r} is held already")
    ctx.schedule(f"release {command.payment}", "release", {"payment": command.payment}, after_s=command.seconds)
    return Held(command.payment, command.amount)


@account.command
def settle(state: Account, payment: str, ctx: Turn) -> list[Released | Withdrawn]:
    """Takes the money that was set aside: two events, both or neither."""
    if payment not in state.held:
        raise Rejected(f"no payment {payment!r} is held: it was settled, or its time is over")
    ctx.cancel(f"release {payment}")
    return [Released(payment), Withdrawn(state.held[payment])]


@account.command
def release(state: Account, payment: str) -> Released | None:
    """Frees what was set aside. What is not held any more needs no event."""
    return Released(payment) if payment in state.held else None


@account.query
def balance(state: Account) -> int:
    """What is there, with what is set aside."""
    return state.balance


@account.query
def available(state: Account) -> int:
    """What may be spent."""
    return state.available


def _check(state: Account, amount: int) -> None:
    if amount <= 0:
        raise Rejected("an amount is above zero")
    if amount > state.available:
        raise Rejected("insufficient funds", {"available": state.available})


customer = keyvalue("customer")


@customer.write
def move(ctx: KeyValue, street: str, city: str) -> None:
    """Keeps a new address; the log keeps the old one too."""
    ctx.set("address", {"street": street, "city": city})


@customer.write
def open_account(ctx: KeyValue, name: str) -> list[str]:
    """Adds an account to those of this customer, and answers with all of them."""
    accounts = ctx.get("accounts", [], type=list[str])
    if name not in accounts:
        accounts.append(name)
        ctx.set("accounts", accounts)
    return accounts


@customer.shared
def profile(ctx: KeyValue) -> dict[str, object]:
    """All values by name."""
    return {name: ctx.get(name) for name in ctx.names()}


@function
def interest(balance: int, percent: float, days: int) -> int:
    """Interest in cents, rounded down. It may take its time: functions run beside all actors."""
    return int(balance * percent / 100 * days / 365)

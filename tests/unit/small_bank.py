"""The actors that several unit tests share: an account, a cart, and a function."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from runtime import KeyValue, Rejected, Retry, RetryPolicy, Turn, entity, function, keyvalue


class Deposit(Struct, frozen=True):
    amount: int


class Withdraw(Struct, frozen=True):
    amount: int


class Transfer(Struct, frozen=True):
    amount: int
    target: str


class Deposited(Struct, frozen=True):
    amount: int


class Withdrawn(Struct, frozen=True):
    amount: int


class Account(Struct, frozen=True):
    balance: int = 0


AccountEvent = Deposited | Withdrawn


def apply(state: Account, event: AccountEvent) -> Account:
    match event:
        case Deposited(amount=amount):
            return replace(state, balance=state.balance + amount)
        case Withdrawn(amount=amount):
            return replace(state, balance=state.balance - amount)


account = entity("account", initial=Account(), apply=apply, retry=RetryPolicy(first_delay_s=1.0, jitter=0.0))


@account.command
def deposit(state: Account, command: Deposit, ctx: Turn) -> Deposited:
    ctx.reply(state.balance + command.amount)
    return Deposited(command.amount)


@account.command
def withdraw(state: Account, command: Withdraw) -> Withdrawn:
    if command.amount > state.balance:
        raise Rejected("insufficient funds", {"balance": state.balance})
    return Withdrawn(command.amount)


@account.command
def transfer(state: Account, command: Transfer, ctx: Turn) -> Withdrawn:
    """Money on its way is on neither account until the message arrives."""
    if command.amount > state.balance:
        raise Rejected("insufficient funds")
    ctx.tell(account, command.target, Deposit(command.amount))
    return Withdrawn(command.amount)


@account.command
def save_up(state: Account, ctx: Turn, amount: int = 1, times: int = 3) -> Deposited | None:
    """Deposits `amount` now, and again each minute."""
    if times > 1:
        ctx.schedule("save_up", "save_up", {"amount": amount, "times": times - 1}, after_s=60)
    return Deposited(amount)


@account.command
def stop_saving(state: Account, ctx: Turn) -> None:
    ctx.cancel("save_up")


@account.command
def explode(state: Account, command: dict[str, Any]) -> Deposited:
    raise ZeroDivisionError("always")


@account.query
def balance(state: Account) -> int:
    return state.balance


@account.query
def can_pay(state: Account, amount: int) -> bool:
    return state.balance >= amount


cart = keyvalue("cart")


@cart.write
def add(ctx: KeyValue, item: str, quantity: int = 1) -> int:
    total = ctx.get(item, 0, type=int) + quantity
    ctx.set(item, total)
    return total


@cart.write
def remove(ctx: KeyValue, item: str) -> None:
    ctx.delete(item)


@cart.write
async def check_out(ctx: KeyValue, payer: str) -> int:
    """An exclusive execution: pays for what is in the cart, and empties it."""
    total = sum(ctx.get(item, 0, type=int) for item in ctx.names())
    ctx.tell(account, payer, Withdraw(total))
    for item in ctx.names():
        ctx.delete(item)
    return total


@cart.shared
def items(ctx: KeyValue) -> list[str]:
    return ctx.names()


@cart.shared
async def count(ctx: KeyValue) -> int:
    return len(ctx.names())


@function(retry=RetryPolicy(max_attempts=3, first_delay_s=1.0, factor=2.0, jitter=0.0))
async def charge(ctx: Turn, amount: int, succeed_at: int = 1) -> dict[str, int]:
    """Charges a card; fails before its attempt `succeed_at`."""
    if ctx.attempt < succeed_at:
        raise Retry("the card machine is busy")
    return {"charged": amount, "attempt": ctx.attempt}

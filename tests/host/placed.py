"""Two kinds that send to each other, for tests with a stream for each."""

from __future__ import annotations

from msgspec import Struct

from runtime.entity import entity
from runtime.policy import RetryPolicy
from runtime.turn import Turn

ONCE = RetryPolicy(max_attempts=1)


class Balance(Struct, frozen=True):
    value: int = 0


class Add(Struct, frozen=True):
    amount: int


class Moved(Struct, frozen=True):
    amount: int


def apply(state: Balance, event: Moved) -> Balance:
    return Balance(state.value + event.amount)


account = entity("account", initial=Balance(), apply=apply, retry=ONCE, snapshot_every=20)
vault = entity("vault", initial=Balance(), apply=apply, retry=ONCE, snapshot_every=20)

for one in (account, vault):

    @one.command(name="add")
    def add(state: Balance, command: Add, ctx: Turn) -> Moved:
        """Adds, and answers with the new value."""
        ctx.reply(state.value + command.amount)
        return Moved(command.amount)

    @one.command(name="send")
    def send(state: Balance, kind: str, to: str, amount: int, ctx: Turn) -> Moved:
        """Takes away here, and adds there by a message."""
        ctx.tell(kind, to, "add", {"amount": amount})
        return Moved(-amount)

    @one.command(name="add_later")
    def add_later(state: Balance, amount: int, after_s: float, ctx: Turn) -> None:
        """Adds when a timer fires."""
        ctx.schedule("later", "add", {"amount": amount}, after_s=after_s)

    @one.command(name="fail")
    def fail(state: Balance) -> None:
        """Is parked."""
        raise ValueError("fail")

    @one.query(name="value")
    def value(state: Balance) -> int:
        return state.value

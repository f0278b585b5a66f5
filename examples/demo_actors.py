"""The demo's actors: tills that count sales, and a ledger that each sale is forwarded to."""

from __future__ import annotations

from msgspec import Struct

from runtime import Turn, entity


class Till(Struct, frozen=True):
    """What a till has sold, in cents."""

    cents: int = 0
    sales: int = 0


class Sell(Struct, frozen=True):
    """Sell something for so many cents."""

    cents: int


class Sold(Struct, frozen=True):
    """Something was sold."""

    cents: int


def apply(state: Till, event: Sold) -> Till:
    """Pure: the same events always fold to the same till."""
    return Till(state.cents + event.cents, state.sales + 1)


till = entity("till", initial=Till(), apply=apply)


@till.command
def sell(state: Till, command: Sell, ctx: Turn) -> Sold:
    """Counts a sale, and answers with the till's number of sales."""
    ctx.reply(state.sales + 1)
    return Sold(command.cents)


@till.query
def sales(state: Till) -> int:
    """How many sales the till has counted."""
    return state.sales

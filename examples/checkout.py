"""A checkout: stock reserved, a card charged, a parcel sent, and all of it undone when it cannot go on.

    runtime dev examples.checkout
    runtime actors call checkout order-17 run '{"item": "book", "amount": 12, "card": "4242"}'
    runtime actors query checkout order-17 status
"""

from __future__ import annotations

import msgspec

from runtime import Rejected, RetryPolicy, RunView, Workflow, entity, workflow


class Reserved(msgspec.Struct, frozen=True):
    """An item is put aside for an order."""

    order: str


class Released(msgspec.Struct, frozen=True):
    """It is free again."""

    order: str


class Reserve(msgspec.Struct, frozen=True):
    """Puts one aside."""

    order: str


class Release(msgspec.Struct, frozen=True):
    """Gives it back."""

    order: str


class Stock(msgspec.Struct, frozen=True):
    """What is left of an item, and for whom the rest is put aside."""

    left: int = 2
    orders: frozenset[str] = frozenset()


def apply(stock: Stock, event: Reserved | Released) -> Stock:
    """One fewer, or one more."""
    if isinstance(event, Reserved):
        return Stock(stock.left - 1, stock.orders | {event.order})
    return Stock(stock.left + 1, stock.orders - {event.order})


stock = entity("stock", initial=Stock(), apply=apply)


@stock.command
def reserve(state: Stock, command: Reserve) -> Reserved:
    """Refuses when there is none."""
    if not state.left:
        raise Rejected("sold out")
    return Reserved(command.order)


@stock.command
def release(state: Stock, command: Release) -> list[Released]:
    """Nothing happens when nothing is put aside for the order."""
    return [Released(command.order)] if command.order in state.orders else []


class Order(msgspec.Struct, frozen=True):
    """What is bought."""

    item: str
    amount: int
    card: str


class Payment(msgspec.Struct, frozen=True):
    """A charge at the card's bank, and the key under which it may be asked for again without charging twice."""

    card: str
    amount: int
    key: str


class Receipt(msgspec.Struct, frozen=True):
    """What the buyer gets."""

    order: str
    payment: Payment
    parcel: str


async def charge(order: Order, idempotency_key: str) -> Payment:
    """Where the bank would be called, with a key that is the same however often the step is tried."""
    if order.card == "0000":
        raise Rejected("the card was refused")
    return Payment(order.card, order.amount, idempotency_key)


async def refund(payment: Payment) -> str:
    """Where the bank would be called again."""
    return f"refunded {payment.amount} to {payment.card}"


async def send(order: Order, order_id: str) -> str:
    """Where the carrier would be called: gives the parcel's number."""
    return f"parcel-{order_id}-{order.item}"


@workflow
async def checkout(ctx: Workflow, order: Order) -> Receipt:
    """Runs for days, over crashes and deploys; each step is taken once."""
    async with ctx.saga() as saga:
        await ctx.ask(stock, order.item, Reserve(ctx.key))
        saga.undo_by(lambda: ctx.ask(stock, order.item, Release(ctx.key)))  # a fact is undone by another fact
        ctx.publish("status", "reserved")
        payment = await ctx.step(charge, order, returns=Payment, retry=RetryPolicy(max_attempts=5))
        saga.undo(refund, payment)
        ctx.publish("status", "paid")
        if not await ctx.signal("packed", returns=bool, timeout_s=3 * 86_400, default=False):
            raise Rejected("nobody packed it within three days")
        parcel = await ctx.step(send, order, ctx.key, returns=str)
        ctx.publish("status", "sent")
    return Receipt(ctx.key, payment, parcel)


@checkout.query
def status(run: RunView) -> str:
    """How far it is: for the buyer's page."""
    return run.get("status", "new", type=str) if run.status == "running" else run.status

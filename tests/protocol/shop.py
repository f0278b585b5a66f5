"""A user's module: a kind, and FastStream subscribers on a router and on a broker of its own."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
from faststream import Context
from faststream.nats import NatsBroker, NatsRouter
from pydantic import BaseModel

from runtime import Client, function


class Line(msgspec.Struct):
    amount: int
    next: Line | None = None


class Order(msgspec.Struct):
    customer: str
    lines: list[Line]


class Parcel(BaseModel):
    weight: float


router = NatsRouter()
broker = NatsBroker(os.environ.get("RUNTIME_NATS_URL", "nats://127.0.0.1:4222"))


@router.subscriber("shop.orders")
async def on_order(order: Order, client: Annotated[Client, Context()]) -> None:
    """Adds up what was ordered."""
    for line in order.lines:
        await client.ask("counter", order.customer, "add", {"amount": line.amount})


@broker.subscriber("shop.parcels")
async def on_parcel(parcel: Parcel) -> None:
    """Weighs."""


@function
def priced(order: Order) -> int:
    """The price of an order."""
    return sum(line.amount for line in order.lines)

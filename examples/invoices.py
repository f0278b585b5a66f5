"""Invoices: a text becomes an Invoice, whatever the model makes of it first, and is booked once.

    runtime dev examples.invoices
    runtime actors call file_invoice mail-17 run '{"text": "Invoice number R17. Vendor: Lamps. Total: 119.5 EUR"}'
    runtime actors query ledger Lamps owed

Works with the built-in offline model, and with any other that `fleet.yaml` names for the slot `extract`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from actors.agents import Agent, Limits
from actors.sessions.session import Answer, Task
from runtime import Workflow, entity, workflow


class Invoice(Struct, frozen=True):
    """What is to be known of an invoice."""

    number: Annotated[str, Meta(min_length=1)]
    vendor: Annotated[str, Meta(min_length=1)]
    total: Annotated[float, Meta(gt=0)]
    currency: Literal["EUR", "USD"]


extractor = Agent(
    "extractor",
    model="extract",
    instructions="You read invoices. Say what is there, and never guess.",
    output=Invoice,
    # A model that answers with what is no Invoice is told where it does not fit, twice at most.
    limits=Limits(repairs=2, tokens=10_000),
)


class Owed(Struct, frozen=True):
    """What is owed to a vendor, by currency."""

    owed: dict[str, float] = {}


class Booked(Struct, frozen=True):
    """An invoice is booked."""

    invoice: Invoice


def apply(state: Owed, event: Booked) -> Owed:
    """Pure: the same events always fold to the same state."""
    one = event.invoice
    return replace(state, owed=state.owed | {one.currency: state.owed.get(one.currency, 0.0) + one.total})


ledger = entity("ledger", initial=Owed(), apply=apply)


@ledger.command
def book(state: Owed, invoice: Invoice) -> Booked:
    """Books an invoice."""
    return Booked(invoice)


@ledger.query
def owed(state: Owed) -> dict[str, float]:
    """What is owed, by currency."""
    return state.owed


@workflow
async def file_invoice(ctx: Workflow, text: str) -> Invoice:
    """Reads an invoice, and books it: each once, whatever dies meanwhile."""
    answer = await ctx.child(extractor, ctx.key, Task("", 0, text), returns=Answer)
    invoice = msgspec.convert(answer.output, Invoice)
    await ctx.ask(ledger, invoice.vendor, "book", invoice)
    return invoice

"""A support desk: a front desk that hands over, and refunds that a person approves when they are not small.

    runtime dev examples.support_desk actors.approvals
    runtime ask "Refund 12.5 euros for order A7"
    runtime actors call session ann say '{"text": "Refund 80 euros for order A7", "agent": "desk"}'
    runtime approvals list
    runtime approvals approve ID
    runtime actors query session ann history

Works with the built-in offline model, and with any other that `fleet.yaml` names.
"""

from __future__ import annotations

from actors.agents import Agent, Limits, ToolContext, hosted, tool
from actors.sessions.session import session
from runtime import KeyValue, keyvalue

__all__ = ["billing", "desk", "orders", "session", "shipping"]

SMALL = 50.0

orders = keyvalue("order")


@orders.shared
def where(ctx: KeyValue) -> str:
    """Tells where the parcel of an order is."""
    return f"order {ctx.key} is {ctx.get('status', 'on its way', type=str)}"


@tool(confirmation=lambda given: bool(given["amount"] > SMALL))
async def refund(order: str, amount: float, ctx: ToolContext) -> str:
    """Refunds money for an order.

    Args:
        order: its number.
        amount: in euros.
    """
    # Here the bank is called, with ctx.key as its idempotency key: the same, however often this call is tried.
    return f"refunded {amount:g} euros for order {order}"


billing = Agent(
    "billing",
    instructions="You refund money, and explain invoices. Refund what was asked for and no more.",
    tools=[refund],
    limits=Limits(tokens=20_000),
)

shipping = Agent(
    "shipping",
    instructions="You know where a parcel is.",
    tools=[hosted(orders, "where", name="parcel")],
)

desk = Agent(
    "desk",
    description="The front desk of a shop: refunds, invoices, and where a parcel is.",
    examples=["please refund 20 euros for order B2", "I want my money back", "where is my parcel"],
    instructions="You are the front desk of a shop. Hand over to the colleague who can help.",
    hands_off_to=[billing, shipping],
    run_timeout_s=7 * 86_400,  # of the whole run: whoever approves has a week
)

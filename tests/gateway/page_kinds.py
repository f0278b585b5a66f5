"""Agents for tests of the playground; the model that is built in answers for them."""

from __future__ import annotations

from actors.agents import Agent, tool
from actors.approvals import KINDS
from actors.sessions.session import session

approval, desk = KINDS

__all__ = ["approval", "cashier", "clerk", "desk", "session"]


@tool
async def book(item: str) -> str:
    """Books an item."""
    return f"booked {item}"


@tool(confirmation=True)
async def refund(amount: float) -> str:
    """Refunds an amount of money."""
    return f"refunded {amount:g}"


clerk = Agent("clerk", instructions="Book what is asked for.", tools=[book])
cashier = Agent("cashier", instructions="Give money back.", tools=[refund])

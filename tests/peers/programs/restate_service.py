"""The Restate service: a virtual object that counts. An ASGI application for hypercorn or granian."""

from __future__ import annotations

import restate

counter = restate.VirtualObject("Counter")


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    """Adds, and answers with the new value."""
    value = (await ctx.get("value", type_hint=int) or 0) + amount
    ctx.set("value", value)
    return value


app = restate.app([counter])

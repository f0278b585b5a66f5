"""The Restate services: a virtual object that counts, and ten steps. An ASGI application for hypercorn or granian."""

from __future__ import annotations

from datetime import timedelta

import restate

STEPS = 10
KEPT = timedelta(hours=1)
"""Runs that have ended can be counted for so long."""

counter = restate.VirtualObject("Counter")


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    """Adds, and answers with the new value."""
    value = (await ctx.get("value", type_hint=int) or 0) + amount
    ctx.set("value", value)
    return value


async def one(number: int) -> int:
    """A step that does nothing."""
    return number


async def _walk(ctx: restate.Context) -> int:
    for number in range(STEPS):
        await ctx.run_typed("one", one, number=number)
    return STEPS


walk = restate.Service("Walk", journal_retention=KEPT)
errand = restate.Workflow("Errand")


@walk.handler("run")
async def walk_run(ctx: restate.Context, _: int) -> int:
    """Takes ten steps."""
    return await _walk(ctx)


@errand.main("run")
async def errand_run(ctx: restate.WorkflowContext, _: int) -> int:
    """Takes ten steps, once for each key."""
    return await _walk(ctx)


app = restate.app([counter, walk, errand])

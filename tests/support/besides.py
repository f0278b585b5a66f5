"""What users of other engines expect besides: workflows and functions for tests on real servers."""

from __future__ import annotations

from runtime.flow.context import Workflow
from runtime.workflow import workflow


@workflow
async def basket(ctx: Workflow, limit: int = 2) -> list[str | None]:
    """Collects items until it has enough, and then who began it."""
    items: list[str | None] = []
    while len(items) < limit:
        items.append(await ctx.signal("add", returns=str))
    return [*items, ctx.turn.principal]


@workflow(on_existing="reject")
async def once_only(ctx: Workflow) -> str:
    """One run a key."""
    found: str = await ctx.signal("add", returns=str)
    return found

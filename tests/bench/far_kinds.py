"""The workflows of tests.bench.far: very many steps, and very many that sleep."""

from __future__ import annotations

from runtime.flow.context import Workflow
from runtime.workflow import workflow
from tests.bench.kinds import one

AT_ONCE = 64


@workflow("lengthy")
async def lengthy(ctx: Workflow, steps: int) -> int:
    """Takes so many steps, some side by side, and gives the sum of what they gave."""

    async def take(number: int) -> int:
        return int(await ctx.step("one", one, number))

    return sum(await ctx.map(take, range(steps), limit=AT_ONCE))


@workflow("dozing")
async def dozing(ctx: Workflow, due: float) -> float:
    """Sleeps until a time (Unix seconds); gives by how many seconds it went on too late."""
    await ctx.sleep(max(due - ctx.now, 0.0))
    return ctx.now - due

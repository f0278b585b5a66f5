"""The workflows under load. Each run is an actor of its own; what its steps do outside see outside.py.

    trip      steps, one by one and side by side, a counter that is asked, a timer, a signal, and a child meanwhile
    leg       the child: a step that its end undoes unless it is a good one, and a timer, or a wait for what never comes
    recalled  a step, and a child that never comes back: cancelled, it undoes its step, and its child is told
    chain     a round for every signal, each continuing as new: no signal that came early is lost
    endless   a step, and a wait for what never comes: it is terminated, or its time is over, and nothing is undone
    handed    a step that hands out a token between two others: whoever has it completes it, once
"""

from __future__ import annotations

from runtime import RetryPolicy, Workflow, workflow
from tests.chaos.outside import HAND, hand_out, note

PATIENT = RetryPolicy(max_attempts=8, first_delay_s=0.05, max_delay_s=1.0)
"""More attempts than one that a fault ended costs."""

FLOWS = ("trip", "recalled", "chain", "endless", "handed")
"""Those that are started from outside."""


@workflow("leg", retry=PATIENT)
async def leg(ctx: Workflow, parent: str, amount: int, pause_s: float) -> int:
    """Gives the amount after a pause; waits for ever if that is below zero. `parent` is whose steps these are."""
    async with ctx.saga() as saga:
        saga.undo("leg-undo", note, "ran", parent, "leg-undo")
        await _step(ctx, "leg-before", parent)
        if pause_s < 0:
            await ctx.signal("never")
        await ctx.sleep(pause_s)
        return amount


@workflow("trip", retry=PATIENT)
async def trip(ctx: Workflow, to: str, amount: int, pause_s: float) -> int:
    """Gives what its child brings and what it is told by the signal `go`, together."""
    own = _own(ctx)
    await _step(ctx, "before", own)
    ctx.publish("status", "under way")
    child = {"parent": own, "amount": amount, "pause_s": pause_s}
    brought = ctx.spawn(ctx.child(leg, f"{ctx.key}-leg", child, returns=int))
    await ctx.ask("counter", to, "add", {"amount": amount}, type=int)
    await ctx.parallel([_step(ctx, side, own) for side in ("left", "right")])
    await ctx.sleep(pause_s)
    told: int = await ctx.signal("go", returns=int)
    total: int = await brought + told
    await _step(ctx, "after", own)
    return total


@workflow("recalled", retry=PATIENT)
async def recalled(ctx: Workflow, amount: int) -> None:
    """Undoes its step when it is cancelled."""
    own = _own(ctx)
    async with ctx.saga() as saga:
        saga.undo("undo", note, "ran", own, "undo")
        await _step(ctx, "before", own)
        await ctx.child(leg, f"{ctx.key}-leg", {"parent": own, "amount": amount, "pause_s": -1.0})


@workflow("chain", retry=PATIENT)
async def chain(ctx: Workflow, amount: int, total: int = 0) -> int:
    """Gives the sum of what `amount` signals said, `more-0` first."""
    await _step(ctx, f"round-{ctx.generation}", _own(ctx))
    total += await ctx.signal(f"more-{ctx.generation}", returns=int)
    if ctx.generation + 1 < amount:
        ctx.continue_as_new({"amount": amount, "total": total})
    return total


@workflow("endless", retry=PATIENT)
async def endless(ctx: Workflow, amount: int) -> None:
    """Would undo its step, if it were asked."""
    own = _own(ctx)
    async with ctx.saga() as saga:
        saga.undo("undo", note, "ran", own, "undo")
        await _step(ctx, "before", own)
        await ctx.signal("never")


@workflow("handed", retry=PATIENT)
async def handed(ctx: Workflow, amount: int) -> int:
    """Gives what its token is completed with, and `amount`, together."""
    own = _own(ctx)
    await _step(ctx, "before", own)
    brought: int = await ctx.external(HAND, hand_out, own, returns=int)
    note("had", own, HAND)
    await _step(ctx, "after", own)
    return brought + amount


def _own(ctx: Workflow) -> str:
    return f"{ctx.address.tenant}/{ctx.command_id}"


async def _step(ctx: Workflow, name: str, own: str) -> None:
    await ctx.step(name, note, "ran", own, name)
    note("had", own, name)

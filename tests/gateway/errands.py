"""Handlers that write down for whom they work, and with which headers; of every way that one leads to another."""

from __future__ import annotations

from typing import Any

from runtime import KeyValue, Limits, Rejected, Turn, Workflow, function, keyvalue, workflow
from schemas.control import Ended
from schemas.headers import travelling

witness = keyvalue("witness")


def seen(ctx: Turn) -> list[Any]:
    """For whom a turn works, with which roles, and the headers that travelled."""
    headers = {name: value for name, value in travelling(ctx.headers).items() if name != "traceparent"}
    return [ctx.principal, list(ctx.roles), headers]


@witness.write
def note(ctx: KeyValue, label: str) -> list[Any]:
    """Writes down who asks."""
    ctx.set(label, seen(ctx.turn))
    return seen(ctx.turn)


@witness.write
def pass_on(ctx: KeyValue) -> None:
    """Tells another one, and sets a timer."""
    ctx.tell(witness, f"{ctx.key}-told", "note", {"label": "told"}, then="heard")
    ctx.turn.schedule("soon", "note", {"label": "timer"}, after_s=0.01)


@witness.write
def heard(ctx: KeyValue, ended: Ended) -> None:
    """What it told is done."""
    ctx.set("heard", seen(ctx.turn))


@witness.write
def approve(ctx: KeyValue) -> str:
    """What only managers may."""
    if "manager" not in ctx.turn.roles:
        raise Rejected("for managers alone")
    return "approved"


@witness.shared
def notes(ctx: KeyValue) -> dict[str, Any]:
    """What was written down."""
    return {name: ctx.get(name) for name in ctx.names()}


@function(limits=Limits(concurrency=2))
async def looking(ctx: Turn) -> list[Any]:
    """For whom a function's run works, behind its queue."""
    return seen(ctx)


@function
async def reporting(ctx: Turn, label: str) -> None:
    """A schedule's run."""
    await ctx.ask(witness, "schedule", "note", {"label": label})


@workflow
async def helping(ctx: Workflow) -> list[Any]:
    """A child, which asks in its turn."""
    return [seen(ctx.turn), await ctx.ask(witness, f"{ctx.key}-w", "note", {"label": "child"})]


@workflow
async def errand(ctx: Workflow) -> dict[str, Any]:
    """Leads to all the others."""
    found: dict[str, Any] = {"run": seen(ctx.turn), "step": await ctx.step("look", seen, ctx.turn)}
    found["asked"] = await ctx.ask(witness, ctx.key, "note", {"label": "asked"})
    found["task"] = await ctx.task(looking)
    found["child"], found["grandchild"] = await ctx.child(helping, f"{ctx.key}-child")
    await ctx.ask(witness, ctx.key, "pass_on")
    try:
        found["approved"] = await ctx.ask(witness, ctx.key, "approve")
    except Rejected as error:
        found["approved"] = str(error)
    return found

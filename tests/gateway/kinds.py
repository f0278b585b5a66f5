"""What the gateway's tests need beside the common kinds: large arguments, and who asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from runtime.flow.context import Workflow
from runtime.function import function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.turn import Turn
from runtime.workflow import workflow

note = keyvalue("note")


@note.write
def write(ctx: KeyValue, text: str) -> int:
    """Keeps a text's length, and gives it."""
    ctx.set("length", len(text))
    return len(text)


@note.write
def sign(ctx: KeyValue) -> str | None:
    """Gives who asked, as far as that was proved."""
    ctx.set("by", ctx.turn.principal)
    return ctx.turn.principal


@note.write
def roles(ctx: KeyValue) -> list[str]:
    """Gives the roles of who asked, as far as they were proved."""
    return list(ctx.turn.roles)


@workflow
async def reviewing(ctx: Workflow, amount: int) -> str:
    """The same in a workflow: how it was decided."""
    return (await ctx.human.approval("review", {"amount": amount}, required_roles=["manager"])).status


@function(name="refunding", timeout_s=None)
async def refunding(ctx: Turn, amount: int) -> dict[str, Any]:
    """Has a manager decide, and says what came of it."""
    outcome = await ctx.human.approval(
        "refund", {"amount": amount}, required_roles=["manager"], timeout_s=86_400, escalate_to=["director"]
    )
    return {"approved": outcome.approved, "by": outcome.by, "comment": outcome.comment}


@function
async def letters(text: str) -> AsyncIterator[str]:
    """Yields the letters of a text."""
    for letter in text:
        yield letter

"""Kinds whose handlers ask others and wait."""

from __future__ import annotations

from runtime.errors import CallFailed
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from tests.support.kinds import Add, counter
from tests.support.steppers import wait_for

caller = keyvalue("caller", retry=RetryPolicy(max_attempts=4, first_delay_s=0.02, max_delay_s=0.1))


@caller.write
async def visit(ctx: KeyValue, path: list[str], file: str = "") -> list[str]:
    """Asks the first key of the path, which asks the next one, each holding its key; gives who was there.

    The last one waits for somebody to make the file, if there is one.
    """
    ctx.set("visits", ctx.get("visits", 0, type=int) + 1)
    if not path:
        if file:
            await wait_for(file)
        return [ctx.key]
    question = {"path": path[1:], "file": file}
    return [ctx.key, *await ctx.ask(caller, path[0], "visit", question, type=list[str])]


@caller.shared
async def look(ctx: KeyValue, path: list[str]) -> list[str]:
    """The same, without holding keys."""
    return [ctx.key, *(await ctx.ask(caller, path[0], "look", {"path": path[1:]}, type=list[str]) if path else [])]


@caller.write
async def careful(ctx: KeyValue, path: list[str]) -> str:
    """Visits, and tells what came of it."""
    try:
        await ctx.ask(caller, path[0], "visit", {"path": path[1:]})
    except CallFailed as error:
        return error.code
    return "went"


@caller.write
async def add_twice(ctx: KeyValue, to: str, file: str = "", fails: int = 0) -> list[int]:
    """Asks a counter to add 1, waits for the file if one is named, and asks again; fails after that so many times."""
    first = await ctx.ask(counter, to, Add(1), type=int)
    if file:
        await wait_for(file)
    second = await ctx.ask(counter, to, Add(1), type=int)
    if ctx.turn.attempt <= fails:
        raise ValueError(f"attempt {ctx.turn.attempt} fails")
    return [first, second]


@caller.write
async def take(ctx: KeyValue, to: str) -> int:
    """Takes from a counter more than it has."""
    return int(await ctx.ask(counter, to, "take", {"amount": 1000}, type=int))


@caller.write
def impatient(ctx: KeyValue) -> None:
    """Asks in a decision, which may not wait."""
    ctx.ask(counter, "a", Add(1))

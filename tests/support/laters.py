"""Kinds for what runs later: what ran is a line in a file."""

from __future__ import annotations

from runtime.function import function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from tests.support.steppers import note, wait_for

desk = keyvalue("desk")


@desk.write
async def hold(ctx: KeyValue, path: str) -> str:
    """Holds the key until the file path.go is there."""
    note(path, f"hold {ctx.key}")
    await wait_for(f"{path}.go")
    return note(path, f"free {ctx.key}")


@desk.write
def mark(ctx: KeyValue, path: str, text: str) -> str:
    """Notes a text."""
    return note(path, text)


@desk.write
async def listen(ctx: KeyValue, path: str) -> str:
    """Notes a signal."""
    return note(path, await ctx.signal("word", returns=str))


@function
async def later(path: str, text: str) -> str:
    """Notes a text."""
    return note(path, text)


@function(debounce_s=3600.0)
async def last(path: str, text: str) -> str:
    """Notes a text; of several calls the last one's."""
    return note(path, text)


@function(retry=RetryPolicy(max_attempts=100, first_delay_s=0.2, factor=1.0, max_elapsed_s=1.0), timeout_s=None)
async def hurried(path: str, waits: bool) -> None:
    """Fails, or waits for ever."""
    note(path, "attempt")
    if waits:
        await wait_for(f"{path}.go")
    raise ValueError("again")

"""Kinds whose runs are listed, ended, and gone on with. What a step does outside is a line in a file."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import Rejected
from runtime.function import function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.support.steppers import note

labor = keyvalue("labor", retry=RetryPolicy(max_attempts=2, first_delay_s=0.02, max_delay_s=0.1))


@labor.write
async def work(ctx: KeyValue, path: str, parts: int = 2) -> str:
    """Does parts of a work, and waits for a signal before the last one."""
    for number in range(1, parts):
        await ctx.step(f"part {number}", note, path, f"part {number}")
    word: str = await ctx.signal("go", returns=str)
    await ctx.step(f"part {parts}", note, path, f"part {parts} {word}")
    ctx.set("word", word)
    return word


@labor.write
async def mend(ctx: KeyValue, path: str) -> str:
    """Fails after its first step, until somebody makes a file."""
    await ctx.step("begin", note, path, "begin")
    if not Path(f"{path}.mended").exists():
        raise ValueError("broken")
    return "mended"


@labor.write
async def refuse(ctx: KeyValue) -> None:
    """Refuses."""
    raise Rejected("not today")


@labor.write
def put(ctx: KeyValue, value: int) -> int:
    """A decision, which is no run."""
    ctx.set("put", value)
    return value


@function(name="errand")
async def errand(ctx: Turn, what: str) -> str:
    """Comes to an end at once."""
    return what

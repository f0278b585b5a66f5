"""A kind of which one method ends its process, and another holds its key for as long as it is told."""

from __future__ import annotations

import asyncio
import os

from runtime.keyvalue import KeyValue, keyvalue

mine = keyvalue("mine")


@mine.write
async def hold(ctx: KeyValue, seconds: float) -> str:
    """Holds the key."""
    await asyncio.sleep(seconds)
    return "held"


@mine.write
def step(ctx: KeyValue) -> int:
    """Counts, and gives the count."""
    count: int = ctx.get("count", 0, type=int) + 1
    ctx.set("count", count)
    return count


@mine.write
def explode(ctx: KeyValue) -> None:
    """Ends the process, as a crash in an extension would."""
    os._exit(9)

"""A kind of which one method ends its process, and another holds its key for as long as there is no file."""

from __future__ import annotations

import os

from runtime.keyvalue import KeyValue, keyvalue
from tests.support.steppers import wait_for

mine = keyvalue("mine")


@mine.write
async def hold(ctx: KeyValue, path: str) -> str:
    """Holds the key until somebody makes the file."""
    await wait_for(path)
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

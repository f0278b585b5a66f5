"""An agent for tests on servers: its tool writes a line to a file, and waits for another file when it is told to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from actors.agents import Agent, ToolContext, tool
from actors.sessions.session import session

__all__ = ["clerk", "session"]


@tool
async def book(item: str, ctx: ToolContext) -> str:
    """Books an item."""
    room = Path(os.environ["TROUPE_TEST_DESK"])
    with (room / "booked").open("a") as file:
        file.write(f"{item} {ctx.key}\n")
    while (room / "hold").exists():
        await asyncio.sleep(0.02)
    return f"booked {item}"


clerk = Agent("clerk", instructions="Book what is asked for.", tools=[book])

"""Agents for tests on servers: tools that write down what they do, and wait for a file when they are told to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from actors.agents import Agent, ToolContext, tool
from actors.sessions.session import session
from actors.turns import Turn, turns

__all__ = ["mechanic", "presser", "session", "treasurer"]


def room() -> Path:
    """Where it is written down."""
    return Path(os.environ["TROUPE_TEST_WORKSHOP"])


def note(line: str) -> None:
    """One more line, at once."""
    with (room() / "done").open("a") as file:
        file.write(f"{line}\n")


@tool(confirmation=lambda given: bool(given["amount"] > 50))
async def pay(amount: int) -> str:
    """Pays."""
    note(f"paid {amount}")
    return f"paid {amount}"


@tool(lock=True)
async def press(what: str, ctx: ToolContext) -> str:
    """Uses the one press that there is."""
    note(f"in {ctx.session}")
    await asyncio.sleep(0.3)
    note(f"out {ctx.session}")
    return f"pressed {what}"


@tool
async def drill(holes: int) -> AsyncIterator[int | None]:
    """Drills, and has itself checked."""
    for one in range(1, holes + 1):
        yield one if one != 2 else None
        while one == 2 and not (room() / "go").exists():
            await asyncio.sleep(0.02)
    yield Turn("check", (holes,))  # type: ignore[misc]  # no value, but what is to be done next


@tool
def check(holes: int) -> str:
    """Checks."""
    note("checked")
    return f"{holes} holes"


treasurer = Agent("treasurer", tools=[pay])
presser = Agent("presser", tools=[press])
mechanic = turns("mechanic", "Works on metal.", [drill, check])

"""What users of other engines expect besides: workflows and functions for tests on real servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from runtime.errors import StepFailed
from runtime.flow.context import Workflow
from runtime.function import function
from runtime.heartbeats import heartbeat, heartbeat_detail
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from runtime.workflow import workflow


@workflow
async def basket(ctx: Workflow, limit: int = 2) -> list[str | None]:
    """Collects items until it has enough, and then who began it."""
    items: list[str | None] = []
    while len(items) < limit:
        items.append(await ctx.signal("add", returns=str))
    return [*items, ctx.turn.principal]


@workflow(on_existing="reject")
async def once_only(ctx: Workflow) -> str:
    """One run a key."""
    found: str = await ctx.signal("add", returns=str)
    return found


async def hand_out(path: str, token: str) -> None:
    """Writes the token where a test finds it, once for each time that it runs."""
    with Path(path).open("a") as file:
        file.write(token + "\n")


@workflow
async def ride(ctx: Workflow, path: str) -> Any:
    """Waits for somebody outside."""
    try:
        return await ctx.external("taxi", hand_out, path, returns=dict[str, int])
    except StepFailed as error:
        return f"walked, since {error}"


@function(timeout_s=None)
async def ferry(ctx: Turn, path: str) -> int:
    """The same, as a function."""
    found: int = await ctx.external("boat", hand_out, path, returns=int)
    return found


@function(timeout_s=None, retry=RetryPolicy(max_attempts=1))
async def raft(ctx: Turn, path: str) -> int:
    """The same, as one that is parked once it has handed out its token, unless a test has mended it."""
    waiting = asyncio.ensure_future(ctx.external("raft", hand_out, path, returns=int))
    while not (Path(path).exists() or waiting.done()):
        await asyncio.sleep(0.02)
    if not Path(f"{path}.mended").exists():
        waiting.cancel()
        raise OSError("it leaks")
    found: int = await waiting
    return found


async def climb(path: str) -> list[int]:
    """Says how far it is, and goes on only up to where a test lets it."""
    began = heartbeat_detail(int) or 0
    with Path(path).open("a") as file:
        file.write(f"from {began}\n")
    for step in range(began, 4):
        while not Path(f"{path}.{step}").exists():
            await asyncio.sleep(0.02)
        heartbeat(step + 1)
    return [began, 4]


@workflow
async def climbing(ctx: Workflow, path: str) -> list[int]:
    """A long step."""
    found: list[int] = await ctx.step("climb", climb, path, heartbeat_timeout_s=300)
    return found


@function(timeout_s=None)
async def hiking(path: str) -> list[int]:
    """A long function."""
    return await climb(path)


diary = keyvalue("diary", snapshot_every=2, retry=RetryPolicy(max_attempts=1))


@diary.write
def write(ctx: KeyValue, text: str) -> None:
    """Adds a page."""
    ctx.set("pages", [*ctx.get("pages", []), text])


@diary.write
def burn(ctx: KeyValue) -> None:
    """Does not work."""
    raise OSError("wet")


@diary.write
async def ponder(ctx: KeyValue, path: str) -> None:
    """Holds the key for as long as a test likes."""
    while not Path(path).exists():
        await asyncio.sleep(0.02)


@diary.shared
def pages(ctx: KeyValue) -> list[str]:
    """What was written."""
    found: list[str] = ctx.get("pages", [])
    return found


def text_of(size: int) -> str:
    """A large text."""
    return "x" * size


@function
async def echoed(text: str) -> str:
    """The same text."""
    return text


@workflow
async def heavy(ctx: Workflow, size: int) -> dict[str, Any]:
    """Large results of a step, of a child and of its own, a large signal, and a result that has no form."""
    made = await ctx.step("make", text_of, size, returns=str)
    echo = await ctx.task(echoed, {"text": made}, returns=str)
    said = await ctx.signal("more", returns=str)
    try:
        await ctx.step("wrong", object)
    except StepFailed as error:
        failed = str(error)
    return {"text": made, "same": echo == made, "said": len(said), "failed": failed}

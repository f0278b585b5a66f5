"""Workflows for tests on real servers. What a step does outside is a line in a file: one line, one time that it ran."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from runtime.errors import Rejected
from runtime.flow.context import Workflow
from runtime.flow.state import RunView
from runtime.function import function
from runtime.workflow import workflow


def note(path: str, line: str) -> str:
    """Appends a line, and gives it."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
    return line


async def note_when(path: str, line: str) -> str:
    """Appends a line once somebody has made the file path.line."""
    while not Path(f"{path}.{line}").exists():
        await asyncio.sleep(0.02)
    return note(path, line)


@function
async def priced(item: str) -> int:
    """What an item costs."""
    return len(item)


@workflow
async def packing(ctx: Workflow, order: str, path: str) -> str:
    """Packs an order: a child of `shopping`."""
    try:
        await ctx.step("pack", note, path, f"pack {order}")
        await ctx.signal("packed")
    except asyncio.CancelledError:
        await ctx.step("unpack", note, path, f"unpack {order}")
        raise
    return f"packed {order}"


@workflow
async def shopping(ctx: Workflow, path: str, items: list[str]) -> dict[str, Any]:
    """Steps side by side, a saga, a child, updates, and signals."""
    async with ctx.saga() as saga:
        prices = await ctx.map(priced, [{"item": item} for item in items], limit=3)
        saga.undo("refund", note, path, "refund")
        both = await ctx.gather(
            charge=ctx.step("charge", note, path, "charge"), mail=ctx.step("mail", note_when, path, "mail")
        )
        ctx.publish("status", "charged")
        request = await ctx.update("address", returns=dict[str, str])
        await request.answer(f"to {request.value['street']}")
        ctx.publish("status", "addressed")
        packed = await ctx.child(packing, f"{ctx.key}-pack", {"order": ctx.key, "path": path})
        ctx.publish("status", "packed")
    return {"prices": prices, **both, "packed": packed, "street": request.value["street"]}


@shopping.query
def status(run: RunView) -> str:
    """How far it is."""
    return f"{run.status}: {run.get('status', 'new')}"


@shopping.validator("address")
def check_address(run: RunView, street: str) -> None:
    """Only streets."""
    if not street:
        raise Rejected(f"no street, and the run is {run.get('status')}")


@workflow
async def counting(ctx: Workflow, path: str, to: int, number: int = 0) -> int:
    """Lives on by continuing as new; each signal is one more."""
    number += int(await ctx.signal("more"))
    await ctx.step("count", note, path, f"{ctx.generation}: {number}")
    ctx.publish("number", number)
    if number < to:
        ctx.continue_as_new({"path": path, "to": to, "number": number})
    return number


@workflow(on_existing="reject")
async def once(ctx: Workflow) -> str:
    """Rejects a second start."""
    return "done"


@workflow(on_existing="replace")
async def latest(ctx: Workflow, number: int, path: str) -> int:
    """A second start replaces the first."""
    try:
        await ctx.step("begin", note, path, f"begin {number}")
        await ctx.signal(f"go {number}")
    except asyncio.CancelledError:
        await ctx.step("undo", note, path, f"undo {number}")
        raise
    return number


@workflow
async def herald(ctx: Workflow, key: str) -> bool:
    """Tells the packing of that id that it is done, and whether there was one."""
    return await ctx.emit(packing, key, "packed")


@workflow
async def finishing(ctx: Workflow, tasks: int) -> list[int]:
    """In which order steps side by side have ended."""
    order: list[int] = []

    async def one(number: int) -> None:
        order.append(await ctx.step(f"step-{number}", abs, number, returns=int))

    await ctx.parallel([one(number) for number in range(tasks)])
    return order


@workflow
async def pondering(ctx: Workflow) -> list[Any]:
    """Waits in several ways at once, twice."""
    first = await ctx.select(go=ctx.signal("go"), late=ctx.sleep(3600))
    async with ctx.timeout(3600):
        return [*first, await ctx.signal("go")]


@workflow(run_timeout_s=0.3, queue_timeout_s=86_400)
async def brief(ctx: Workflow) -> Any:
    """Is ended soon, whatever it waits for."""
    return await ctx.signal("go")

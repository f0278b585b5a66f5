"""The kinds that are measured: a counter with everything at its default, a ledger, notes; workflows."""

from __future__ import annotations

import asyncio
import time

from msgspec import Struct

from runtime.entity import entity
from runtime.flow.context import Workflow
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from runtime.workflow import workflow


class Counter(Struct, frozen=True):
    value: int = 0


class Add(Struct, frozen=True):
    amount: int


class Added(Struct, frozen=True):
    amount: int


def apply(state: Counter, event: Added) -> Counter:
    """Counts."""
    return Counter(state.value + event.amount)


counter = entity("counter", initial=Counter(), apply=apply)


@counter.command
def add(state: Counter, command: Add, ctx: Turn) -> Added:
    """Adds, and answers with the new value."""
    ctx.reply(state.value + command.amount)
    return Added(command.amount)


ledger = entity("ledger", initial=Counter(), apply=apply, snapshot_every=0)


@ledger.command
def book(state: Counter, entries: int) -> list[Added]:
    """Books so many entries of one."""
    return [Added(1)] * entries


class Note(Struct, frozen=True):
    number: int = 0
    text: str = ""


class Kept(Struct, frozen=True):
    number: int
    text: str


def latest(_: Note, event: Kept) -> Note:
    """What was kept last."""
    return Note(event.number, event.text)


note = entity("note", initial=Note(), apply=latest)


@note.command
def keep(_: Note, number: int, text: str, ctx: Turn) -> Kept:
    """Keeps a number and a text, and answers with the number."""
    ctx.reply(number)
    return Kept(number, text)


async def one(number: int) -> int:
    """A step that does nothing."""
    return number


@workflow
async def walk(ctx: Workflow, steps: int) -> int:
    """Takes so many steps, one after the other."""
    for number in range(steps):
        await ctx.step("one", one, number, returns=int)
    return steps


@workflow
async def linger(ctx: Workflow) -> int:
    """Takes a step, and is within another one until its process dies; that one is done at once when it begins anew."""

    async def other() -> int:
        if ctx.turn.attempt == 1:
            await asyncio.Event().wait()
        return 2

    done: int = await ctx.step("one", one, 1, returns=int)
    return done + int(await ctx.step("other", other, returns=int))


@workflow
async def rest(ctx: Workflow, seconds: float) -> str:
    """Sleeps durably."""
    await ctx.sleep(seconds)
    return "awake"


_failed_at: dict[str, float] = {}


@workflow(retry=RetryPolicy(first_delay_s=0.001, jitter=0))
async def again(ctx: Workflow, steps: int) -> float:
    """Takes so many steps, fails, and says how many seconds it took to have them all again."""
    for number in range(steps):
        await ctx.step("one", one, number, returns=int)
    if ctx.turn.attempt == 1:
        _failed_at[ctx.command_id] = time.perf_counter()
        raise RuntimeError("once more")
    return time.perf_counter() - _failed_at.pop(ctx.command_id)

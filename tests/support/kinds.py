"""The kinds that tests run in pods."""

from __future__ import annotations

import asyncio
import os
import time

from msgspec import Struct

from runtime.entity import entity
from runtime.errors import Rejected
from runtime.function import function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.support.steppers import wait_for

FAST = RetryPolicy(max_attempts=3, first_delay_s=0.02, max_delay_s=0.1)


class Counter(Struct, frozen=True):
    value: int = 0
    events: int = 0


class Add(Struct, frozen=True):
    amount: int


class Added(Struct, frozen=True):
    amount: int


def apply(state: Counter, event: Added) -> Counter:
    return Counter(state.value + event.amount, state.events + 1)


counter = entity("counter", initial=Counter(), apply=apply, retry=FAST, snapshot_every=50)


@counter.command
def add(state: Counter, command: Add, ctx: Turn) -> Added:
    """Adds, and answers with the new value."""
    ctx.reply(state.value + command.amount)
    return Added(command.amount)


@counter.command
def take(state: Counter, amount: int, ctx: Turn) -> Added:
    """Takes away, never below zero."""
    if amount > state.value:
        raise Rejected(f"only {state.value} are left", details={"left": state.value})
    ctx.reply(state.value - amount)
    return Added(-amount)


@counter.command
def forward(state: Counter, to: str, amount: int, ctx: Turn) -> Added:
    """Takes away here and adds there, by a message."""
    if amount > state.value:
        raise Rejected("not enough")
    ctx.tell(counter, to, Add(amount))
    return Added(-amount)


@counter.command
def add_later(state: Counter, ctx: Turn, amount: int, after_s: float, name: str = "later") -> None:
    """Adds when a timer fires."""
    ctx.schedule(name, "add", {"amount": amount}, after_s=after_s)


@counter.command
def forget(state: Counter, ctx: Turn, name: str = "later") -> None:
    """Takes the timer back."""
    ctx.cancel(name)


@counter.command
def boom(state: Counter) -> None:
    """Always fails."""
    raise ValueError("boom")


@counter.command
def flaky(state: Counter, fails: int, ctx: Turn) -> Added:
    """Fails so many times, then adds one."""
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    return Added(1)


@counter.command
def sleepy(state: Counter, seconds: float) -> Added:
    """Blocks its thread, as a decision must not."""
    time.sleep(seconds)
    return Added(1)


@counter.command
def die(state: Counter) -> None:
    """Ends the process, as a crash in an extension would."""
    os._exit(9)


@counter.command
def wrong(state: Counter) -> int:
    """Returns what is no event."""
    return 42


@counter.query
def value(state: Counter) -> int:
    return state.value


@counter.query
def slow_value(state: Counter, seconds: float) -> int:
    time.sleep(seconds)
    return state.value


fragile = entity("fragile", initial=Counter(), apply=apply, retry=RetryPolicy(max_attempts=1), on_parked="pause")


@fragile.command(name="add")
def fragile_add(state: Counter, command: Add, ctx: Turn) -> Added:
    """Fails on odd amounts; its key then pauses."""
    if command.amount % 2:
        raise ValueError("odd")
    ctx.reply(state.value + command.amount)
    return Added(command.amount)


cart = keyvalue("cart", retry=FAST)


@cart.write
def put(ctx: KeyValue, item: str, quantity: int = 1) -> int:
    total: int = ctx.get(item, 0, type=int) + quantity
    ctx.set(item, total)
    return total


@cart.write
async def put_slowly(ctx: KeyValue, item: str, quantity: int, seconds: float = 0.0, path: str = "") -> int:
    """Waits between reading and writing: for a time, or until somebody makes the file `path`."""
    before: int = ctx.get(item, 0, type=int)
    await asyncio.sleep(seconds)
    if path:
        await wait_for(path)
    ctx.set(item, before + quantity)
    return before + quantity


@cart.shared
def items(ctx: KeyValue) -> dict[str, int]:
    return {name: ctx.get(name) for name in ctx.names()}


@function(retry=FAST)
def double(x: int) -> int:
    return 2 * x


@function(retry=FAST)
async def hesitant(ctx: Turn, fails: int) -> int:
    """Fails so many times, then gives the attempt's number."""
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    return ctx.attempt


@function(retry=FAST)
async def patient(ctx: Turn, seconds: float = 0.0, path: str = "") -> int:
    """Waits, for a time or until somebody makes the file `path`, then gives the attempt's number."""
    await asyncio.sleep(seconds)
    if path:
        await wait_for(path)
    return ctx.attempt


@function(timeout_s=0.2, retry=RetryPolicy(max_attempts=1))
async def endless() -> None:
    await asyncio.sleep(3600)


@cart.write
async def block(ctx: KeyValue, seconds: float) -> int:
    """Blocks its event loop, as an async handler must not."""
    time.sleep(seconds)
    return 1


clerk = keyvalue("clerk")


@clerk.write
async def serve(ctx: KeyValue) -> None:
    """Waits for a limit, then takes what stays below it, until it is cancelled."""
    limit = await ctx.signal("limit", returns=int)
    while True:
        request = await ctx.update("take", returns=int)
        if request.value > limit:
            await request.reject(f"{request.value} is above {limit}")
        else:
            await request.answer({"taken": request.value})

"""Kinds whose handlers take steps. What a step does outside is a line in a file: one line, one time that it ran."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import Rejected
from runtime.function import function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.turn import Turn

POLICY = RetryPolicy(max_attempts=4, first_delay_s=0.02, max_delay_s=0.1)

stepper = keyvalue("stepper", retry=POLICY)


class Receipt(msgspec.Struct):
    """What a step gives."""

    name: str
    amount: int = 1


def note(path: str, line: str) -> str:
    """Appends a line, and gives it."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
    return line


async def note_later(path: str, line: str, seconds: float) -> Receipt:
    """Waits, then appends."""
    await asyncio.sleep(seconds)
    return Receipt(note(path, line), len(line))


def note_key(path: str, idempotency_key: str) -> str:
    """Appends its idempotency key."""
    return note(path, idempotency_key)


async def wait_for(path: str) -> None:
    """Until somebody makes the file."""
    while not Path(path).exists():
        await asyncio.sleep(0.02)


@stepper.write
async def walk(ctx: KeyValue, path: str, steps: int, fails: int = 0) -> list[str]:
    """Takes numbered steps and waits between them for files path.1, path.2 …; fails at the end of so many attempts."""
    done = []
    for number in range(steps):
        done.append(await ctx.step("walk", note, path, f"walk {number}"))
        await wait_for(f"{path}.{number + 1}")
    if ctx.turn.attempt <= fails:
        note(path, f"attempt {ctx.turn.attempt} fails")
        raise ValueError(f"attempt {ctx.turn.attempt} fails")
    ctx.set("walked", len(done))
    return done


@function(name="step_function", retry=POLICY, timeout_s=None)
async def step_function(ctx: Turn, path: str, fails: int = 0) -> list[Any]:
    """Steps side by side, and one after them, then fails so many times."""
    both = await asyncio.gather(
        ctx.step("slow", note_later, path, "slow", 0.2, returns=Receipt),
        ctx.step("fast", note_later, path, "fast", 0.0, returns=Receipt),
    )
    last = await ctx.step("last", note, path, "last")
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    return [both[0].name, both[1].amount, last]


@stepper.write
async def halves(ctx: KeyValue, path: str) -> str:
    """Two steps side by side, of which one waits for a file."""
    fast, slow = await asyncio.gather(ctx.step("fast", note, path, "fast"), ctx.step("slow", _slow, path))
    return f"{fast} {slow}"


async def _slow(path: str) -> str:
    note(path, "slow begins")
    await wait_for(f"{path}.go")
    return note(path, "slow")


@stepper.write
async def stray(ctx: KeyValue, path: str, how: str) -> str:
    """Takes other steps at its second attempt."""
    second = ctx.turn.attempt > 1
    if how == "fewer" and second:
        return "left out"
    await ctx.step("other" if second and how == "other" else "first", note, path, "step")
    if not second:
        raise ValueError("tried again")
    return "done"


@stepper.write
async def bad(ctx: KeyValue, path: str, what: str) -> str:
    """A step whose result cannot be recorded."""
    results: dict[str, Any] = {"object": object(), "surrogate": "\ud800", "key": {(1, 2): 3}}
    if what == "type":
        await ctx.step("bad one", note, path, what, returns=int)
    await ctx.step("bad one", lambda: (note(path, what), results[what])[1])
    return "kept"


@stepper.write
async def refused(ctx: KeyValue, path: str, fails: int = 0) -> str:
    """A step that refuses, what the handler does about it, and then it fails so many times."""

    def refuse() -> None:
        note(path, "refused")
        raise Rejected("no money", {"left": 2})

    try:
        await ctx.step("charge", refuse)
    except Rejected as error:
        await ctx.step("undo", note, path, f"undo: {error} {error.details}")
    if ctx.turn.attempt <= fails:
        raise ValueError(f"attempt {ctx.turn.attempt} fails")
    return "undone"


@stepper.write
async def swallows(ctx: KeyValue, path: str) -> str:
    """Goes on after a failed step."""

    def fail() -> None:
        raise OSError("away")

    try:
        await ctx.step("charge", fail)
    except OSError:
        pass
    return str(await ctx.step("ship", note, path, "ship"))


@stepper.write
async def nested(ctx: KeyValue, path: str) -> str:
    """A step within a step."""

    async def outer() -> str:
        return str(await ctx.step("inner", note, path, "inner"))

    return str(await ctx.step("outer", outer))


@stepper.write
async def keyed(ctx: KeyValue, path: str, fails: int = 0) -> list[str]:
    """Two steps of one name that get a key, and the first fails so many times after it has used it."""

    def use(idempotency_key: str) -> str:
        note(path, idempotency_key)
        if ctx.turn.attempt <= fails:
            raise ValueError(f"attempt {ctx.turn.attempt} fails")
        return idempotency_key

    return [await ctx.step("use", use), await ctx.step("use", use), await ctx.step("note", note_key, path)]


@stepper.shared
async def dies(ctx: KeyValue, path: str, times: int) -> list[str]:
    """Holds no key; ends its process between its two steps at so many attempts."""
    first = await ctx.step("first", note, path, "first")
    if ctx.turn.attempt <= times:
        os.abort()
    return [first, await ctx.step("second", note, path, "second")]


@stepper.write
def decision(ctx: KeyValue) -> None:
    """Takes a step where there are none."""
    ctx.step("no", note, "", "")

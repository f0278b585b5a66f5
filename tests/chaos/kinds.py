"""The actors under load.

    counter   additions from outside, transfers between counters by messages, timers; its sum is checked
    errand    executions: `run` takes a step, asks a counter, and takes another step; `wait` sleeps and then waits for a
              signal between its two; `leave` waits for what never comes, is cancelled, and undoes its step

The workflows are in flows.py. What a step does outside is a line, see outside.py.
"""

from __future__ import annotations

import asyncio
import os

from msgspec import Struct

from runtime.entity import entity
from runtime.errors import Rejected
from runtime.keyvalue import KeyValue, keyvalue
from runtime.turn import Turn
from tests.chaos.flows import PATIENT, chain, endless, handed, leg, recalled, trip
from tests.chaos.outside import note

__all__ = ["chain", "counter", "endless", "errand", "handed", "leg", "recalled", "trip"]


class Counter(Struct, frozen=True):
    value: int = 0


class Added(Struct, frozen=True):
    amount: int


class Left(Struct, frozen=True):
    """The amount is below zero: what left for another counter."""

    amount: int


class Arrived(Struct, frozen=True):
    amount: int


class Rang(Struct, frozen=True):
    """A timer fired that was due at `due_at`, in Unix seconds."""

    amount: int
    due_at: float


def apply(state: Counter, event: Added | Left | Arrived | Rang) -> Counter:
    return Counter(state.value + event.amount)


counter = entity("counter", initial=Counter(), apply=apply, retry=PATIENT, snapshot_every=50)


@counter.command
def add(state: Counter, amount: int, ctx: Turn) -> Added:
    """Adds, and answers with the new value."""
    ctx.reply(state.value + amount)
    return Added(amount)


@counter.command
def forward(state: Counter, to: str, amount: int, ctx: Turn) -> Left:
    """Takes away here, never below zero, and adds there by a message."""
    if amount > state.value:
        raise Rejected(f"only {state.value} are left")
    ctx.tell(counter, to, "arrive", {"amount": amount})
    ctx.reply(state.value - amount)
    return Left(-amount)


@counter.command
def arrive(state: Counter, amount: int) -> Arrived:
    """What `forward` sends."""
    return Arrived(amount)


@counter.command
def add_later(state: Counter, ctx: Turn, amount: int, after_s: float, name: str) -> None:
    """Adds when a timer fires."""
    due_at = ctx.now + after_s
    ctx.schedule(name, "ring", {"amount": amount, "due_at": due_at}, at=due_at)


@counter.command
def ring(state: Counter, amount: int, due_at: float) -> Rang:
    """What a timer sends."""
    return Rang(amount, due_at)


@counter.command
def flaky(state: Counter, amount: int, fails: int, ctx: Turn) -> Added:
    """Fails so many times, then adds."""
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    ctx.reply(state.value + amount)
    return Added(amount)


@counter.query
def look(state: Counter) -> tuple[int, int]:
    """(the value, the process that answers)."""
    return state.value, os.getpid()


errand = keyvalue("errand", retry=PATIENT)


@errand.write
async def run(ctx: KeyValue, to: str, amount: int) -> int:
    """A step, an addition elsewhere, another step; gives how many errands this actor has run."""
    await _step(ctx, "before")
    await ctx.ask(counter, to, "add", {"amount": amount}, type=int)
    await _step(ctx, "after")
    done: int = ctx.get("done", 0, type=int) + 1
    ctx.set("done", done)
    return done


@errand.write
async def wait(ctx: KeyValue, pause_s: float) -> int:
    """A step, a pause, a signal, another step; gives the sum of all signals that this actor has taken."""
    await _step(ctx, "before")
    await ctx.sleep(pause_s)
    taken: int = await ctx.signal("go", returns=int)
    await _step(ctx, "after")
    total: int = ctx.get("total", 0, type=int) + taken
    ctx.set("total", total)
    return total


@errand.write
async def leave(ctx: KeyValue) -> None:
    """Waits until it is cancelled, and undoes what it did."""
    try:
        await _step(ctx, "before")
        await ctx.signal("never")
    except asyncio.CancelledError:
        await _step(ctx, "undo")
        raise


async def _step(ctx: KeyValue, name: str) -> None:
    command = f"{ctx.address.tenant}/{ctx.turn.command_id}"
    await ctx.step(name, note, "ran", command, name)
    note("had", command, name)

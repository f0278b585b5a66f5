"""Kinds for pods in the test's own process: handlers wait, or block their thread, until the test opens the door."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from runtime.entity import entity
from runtime.keyvalue import KeyValue, keyvalue

_opened = threading.Event()
_inside: list[int] = []


class Passed(Struct, frozen=True):
    pass


def _wait() -> None:
    _inside.append(1)
    _opened.wait()


def _count(state: int, event: Passed) -> int:
    return state + 1


door = entity("door", initial=0, apply=_count)
porch = keyvalue("porch")


@door.command
def enter(state: int) -> Passed:
    """Blocks the turn thread, as a decision must not."""
    _wait()
    return Passed()


@door.command
def knock(state: int) -> Passed:
    """Does not wait."""
    return Passed()


@door.query
def peer(state: int) -> int:
    """Blocks as well, as a query must not."""
    _wait()
    return state


@door.query
def passed(state: int) -> int:
    return state


@porch.write
async def stand(ctx: KeyValue) -> int:
    """Blocks its event loop, as an async handler must not."""
    _wait()
    return 1


@porch.write
async def add_later(ctx: KeyValue, amount: int) -> int:
    """Adds to what there was before the door was opened."""
    before: int = ctx.get("sum", 0, type=int)
    while not _opened.is_set():
        await asyncio.sleep(0.01)
    ctx.set("sum", before + amount)
    return before + amount


@porch.write
async def add_soon(ctx: KeyValue, amount: int) -> int:
    """Does not wait, and runs as one that does."""
    return add(ctx, amount)


@porch.write
def add(ctx: KeyValue, amount: int) -> int:
    """Does not wait."""
    total: int = ctx.get("sum", 0, type=int) + amount
    ctx.set("sum", total)
    return total


@porch.shared
def total(ctx: KeyValue) -> int:
    return ctx.get("sum", 0, type=int)


def blocked() -> int:
    """How many have blocked since it was shut."""
    return len(_inside)


@contextmanager
def shut() -> Iterator[None]:
    """Nobody gets through within it."""
    _opened.clear()
    _inside.clear()
    try:
        yield
    finally:
        _opened.set()

"""The actors whose histories are checked; what each does when it is alone is in models.py."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from runtime.entity import entity
from runtime.errors import Rejected
from runtime.keyvalue import KeyValue, keyvalue
from runtime.turn import Turn

# -- a register: write, compare and set, read -------------------------------------------------------------------------


class Value(Struct, frozen=True):
    value: int = 0


class Written(Struct, frozen=True):
    value: int


def set_value(state: Value, event: Written) -> Value:
    return Value(event.value)


register = entity("register", initial=Value(), apply=set_value, snapshot_every=20)


@register.command
def write(state: Value, value: int) -> Written:
    """Sets the value."""
    return Written(value)


@register.command
def cas(state: Value, expected: int, new: int) -> Written:
    """Sets the value if it is the expected one, else refuses."""
    if state.value != expected:
        raise Rejected("the value is another one")
    return Written(new)


@register.query
def read(state: Value) -> int:
    return state.value


# -- a counter --------------------------------------------------------------------------------------------------------


class Added(Struct, frozen=True):
    amount: int


def add_amount(state: Value, event: Added) -> Value:
    return Value(state.value + event.amount)


tally = entity("tally", initial=Value(), apply=add_amount)


@tally.command
def add(state: Value, amount: int, ctx: Turn) -> Added:
    """Adds, and answers with the new value."""
    ctx.reply(state.value + amount)
    return Added(amount)


@tally.query
def value(state: Value) -> int:
    return state.value


# -- a list that only grows -------------------------------------------------------------------------------------------


class Items(Struct, frozen=True):
    items: tuple[int, ...] = ()


class Appended(Struct, frozen=True):
    item: int


def add_item(state: Items, event: Appended) -> Items:
    return Items((*state.items, event.item))


chain = entity("chain", initial=Items(), apply=add_item, snapshot_every=20)


@chain.command
def append(state: Items, item: int, ctx: Turn) -> Appended:
    """Appends, and answers with the new length."""
    ctx.reply(len(state.items) + 1)
    return Appended(item)


@chain.query
def items(state: Items) -> tuple[int, ...]:
    return state.items


# -- a map, as a key-value entity -------------------------------------------------------------------------------------

cell = keyvalue("cell")


@cell.write
def put(ctx: KeyValue, name: str, value: int) -> int | None:
    """Sets a name's value, and answers with the one before."""
    before: int | None = ctx.get(name, type=int)
    ctx.set(name, value)
    return before


@cell.write
async def swap(ctx: KeyValue, name: str, expected: int | None, value: int) -> bool:
    """Sets a name's value if it is the expected one; an execution, which holds the key while it waits."""
    if ctx.get(name, type=int) != expected:
        return False
    await asyncio.sleep(0.002)
    ctx.set(name, value)
    return True


@cell.write
def drop(ctx: KeyValue, name: str) -> int | None:
    """Deletes a name, and answers with its value."""
    before: int | None = ctx.get(name, type=int)
    if before is not None:
        ctx.delete(name)
    return before


@cell.shared
def entries(ctx: KeyValue) -> dict[str, int]:
    return {name: ctx.get(name, 0, type=int) for name in ctx.names()}

"""The kinds that are measured: a counter with everything at its default, a ledger of many events a command, notes."""

from __future__ import annotations

from msgspec import Struct

from runtime.entity import entity
from runtime.turn import Turn


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

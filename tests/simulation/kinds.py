"""The actors of a history. Everything that they do shows in their logs, so that verify.py can judge by these."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from runtime.entity import entity
from runtime.errors import Rejected
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.simulation.errands import errand, leg, outside, place_of, tally

RETRY = RetryPolicy(max_attempts=3, first_delay_s=0.05, max_delay_s=0.2)


class Account(Struct, frozen=True):
    balance: int = 0
    count: int = 0


class Changed(Struct, frozen=True):
    """The balance changed: by a client, by another account's message, or by a timer (then `timer` is its token)."""

    amount: int
    timer: str = ""


class Sent(Struct, frozen=True):
    """`amount` is on its way to another account."""

    amount: int
    to: str


class Planned(Struct, frozen=True):
    """A timer of this name was set, to be fired with this token."""

    name: str
    token: str
    after_s: float


class Forgotten(Struct, frozen=True):
    """The timer of this name was cancelled."""

    name: str


class Marked(Struct, frozen=True):
    """Something was written; a cursed word is refused by the log."""

    word: str


Event = Changed | Sent | Planned | Forgotten | Marked


def apply(state: Account, event: Event) -> Account:
    """The balance, and how many events made it."""
    match event:
        case Changed(amount=amount):
            return Account(state.balance + amount, state.count + 1)
        case Sent(amount=amount):
            return Account(state.balance - amount, state.count + 1)
        case _:
            return Account(state.balance, state.count + 1)


account = entity("account", initial=Account(), apply=apply, retry=RETRY, snapshot_every=6)


@account.command
def add(state: Account, amount: int, ctx: Turn) -> Changed:
    """Adds, and answers with the balance then."""
    ctx.reply(state.balance + amount)
    return Changed(amount)


@account.command
def take(state: Account, amount: int, ctx: Turn) -> Changed:
    """Takes what is there."""
    if amount > state.balance:
        raise Rejected(f"only {state.balance} are left")
    ctx.reply(state.balance - amount)
    return Changed(-amount)


@account.command
def move(state: Account, to: str, amount: int, ctx: Turn) -> Sent:
    """Takes here, and adds there by a message."""
    if amount > state.balance:
        raise Rejected(f"only {state.balance} are left")
    ctx.tell(account, to, "add", {"amount": amount})
    ctx.reply(state.balance - amount)
    return Sent(amount, to)


@account.command
def plan(state: Account, name: str, token: str, amount: int, after_s: float, ctx: Turn) -> Planned:
    """Adds later, once."""
    ctx.schedule(name, "fire", {"token": token, "amount": amount}, after_s=after_s)
    ctx.reply(state.balance)
    return Planned(name, token, after_s)


@account.command
def fire(state: Account, token: str, amount: int) -> Changed:
    """What a timer does."""
    return Changed(amount, token)


@account.command
def forget(state: Account, name: str, ctx: Turn) -> Forgotten:
    """Takes a timer back."""
    ctx.cancel(name)
    ctx.reply(state.balance)
    return Forgotten(name)


@account.command
def falter(state: Account, fails: int, ctx: Turn) -> Changed:
    """Fails so many times, then adds one."""
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    ctx.reply(state.balance + 1)
    return Changed(1)


@account.command
def mark(state: Account, word: str, ctx: Turn) -> Marked:
    """Writes a word."""
    ctx.reply(state.balance)
    return Marked(word)


@account.query
def look(state: Account) -> Account:
    """The state as it is."""
    return state


frail = entity("frail", initial=Account(), apply=apply, retry=RetryPolicy(max_attempts=1), on_parked="pause")


@frail.command(name="add")
def frail_add(state: Account, amount: int, ctx: Turn) -> Changed:
    """Fails on what is not positive; its key then pauses until a person resumes it."""
    if amount <= 0:
        raise ValueError("not positive")
    ctx.reply(state.balance + amount)
    return Changed(amount)


@frail.query(name="look")
def frail_look(state: Account) -> Account:
    """The state as it is."""
    return state


desk = keyvalue("desk", retry=RETRY)


@desk.write
async def pay(ctx: KeyValue, source: str, target: str, amount: int) -> int:
    """Moves by asking both accounts, with a step in between; answers with how many such orders there were."""
    await ctx.ask(account, source, "add", {"amount": -amount})
    number = await ctx.step("number", taken, ctx.turn.command_id)
    await ctx.ask(account, target, "add", {"amount": amount})
    done: int = ctx.get("done", 0, type=int) + 1
    ctx.set("done", done)
    ctx.set(f"order {ctx.turn.command_id}", number)
    return done


def taken(order: str) -> str:
    """What a step gives."""
    return f"receipt of {order}"


clerk = keyvalue("clerk", retry=RETRY)

WORDS_S = 40.0
"""Longer than any history lasts: a word that does not come was lost."""


@clerk.write
async def gather(ctx: KeyValue, words: int) -> list[str]:
    """Takes so many words, and tells who asks for their number; once it is cancelled it undoes that, in a step."""
    run, taken_words = ctx.turn.command_id, []
    try:
        for _ in range(words):
            taken_words.append(await ctx.turn.signal("word", returns=str, timeout_s=WORDS_S))
        asked = await ctx.turn.update("count", returns=int, timeout_s=WORDS_S)
        await asked.answer(asked.value + len(taken_words))
    except asyncio.CancelledError:
        await ctx.step("undo", outside.do, place_of(run, "undo"), 0)
        raise
    ctx.set(f"words {run}", taken_words)
    return taken_words


KINDS = (account, frail, desk, clerk, tally, errand, leg)

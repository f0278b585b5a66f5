"""What the load does with one actor, by the letter that its key begins with.

    s r h   one command in flight, additions only: every answer must be the running total, every look the last answer
    l       several in flight: additions, transfers to another of them, timers, retried failures, looks
    p       additions that are published straight to NATS, one after the other, without waiting for the actor
    e       errands, one after the other
    w       errands that wait, one after the other: each is signalled, or cancelled
    d       as s, and now and then the actor is deleted: it begins anew, and what is repeated of before must not count
    f       workflows, one after the other: flow_program.py
    a       conversations with agents: agent_program.py

A few per cent of the commands are asked twice under their id, at the same time or later: both answers must agree. Some
are sent again with other arguments, which must be refused.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from schemas import control
from tests.chaos.calls import Calls, address_of, entry_of
from tests.chaos.record import DELETE, Entry, Via

IN_FLIGHT = 4
LONGEST_PAUSE_S = 3.0
CANCELLED = 0.3
"""Of the errands that wait so many are cancelled."""

DELETED, REPEATED = 0.1, 0.5
"""Shares: of the rounds so many are deletions, and behind so many of these an old command is repeated."""

VIA: dict[str, Via] = {"r": "raw", "h": "http", "p": "publish"}


class Program:
    """One actor's. `others` are the actors that it may involve; it ends at `end`, on the monotonic clock.

    In a share `looks` of its rounds it looks at the state.
    """

    def __init__(
        self,
        calls: Calls,
        actor: str,
        session: str,
        others: Sequence[str],
        chance: random.Random,
        think_s: float,
        end: float,
        looks: float,
    ) -> None:
        self.calls = calls
        self.actor = actor
        self.tenant, _, self.key = address_of(actor)
        self.session = session
        self.others = others
        self.chance = chance
        self._think_s = think_s
        self._end = end
        self.looks = looks

    async def run(self) -> None:
        """Sends commands until the time is over, and returns when the last one is answered."""
        raise AssertionError("what to do is the subclasses' business")

    async def think(self) -> bool:
        """Waits before the next command; false when there is none."""
        await asyncio.sleep(self.chance.expovariate(1 / self._think_s))
        return time.monotonic() < self._end

    def entry(self, number: int, method: str, amount: int, target: str = "") -> Entry:
        """The actor's command of that number."""
        via = VIA.get(self.key[0], "client")
        return entry_of(self.actor, number, method, amount, via=via, session=self.session, target=target)


class Strict(Program):
    """One command in flight."""

    async def run(self) -> None:
        total = number = 0
        while await self.think():
            amount = self.chance.randint(1, 99)
            number += 1
            total += amount
            entry = await self.calls.send(self.entry(number, "add", amount), {"amount": amount}, self.chance)
            if entry.outcome == "stuck":
                return
            if (entry.value, entry.seq) != (total, number):
                found = f"command {number} was answered with value {entry.value}, seq {entry.seq}; {total} is right"
                self.calls.record.misordered.append((self.actor, found))
                return  # what follows would be wrong because of this one
            if self.chance.random() < self.looks:
                await self.calls.look(self.actor, self.actor)


class Loose(Program):
    """Several commands in flight."""

    async def run(self) -> None:
        flying: set[asyncio.Task[Any]] = set()
        number = 0
        while await self.think():
            if len(flying) >= IN_FLIGHT:
                _, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            number += 1
            flying.add(asyncio.ensure_future(self._any(number)))
        if flying:
            await asyncio.wait(flying)

    def _any(self, number: int) -> Coroutine[Any, Any, Any]:
        amount, what = self.chance.randint(1, 99), self.chance.random()
        args: dict[str, Any] = {"amount": amount}
        method, target = "add", ""
        if what < 0.10:
            target = self.chance.choice(self.others)
            method = "forward"
            args["to"] = address_of(target).key
        elif what < 0.14:
            method = "add_later"
            args |= {"after_s": round(self.chance.uniform(0.0, 3.0), 3), "name": f"{self.key}-{number}"}
        elif what < 0.15:
            method = "flaky"
            args["fails"] = 1
        elif what < 0.15 + self.looks:
            return self.calls.look(self.actor, f"{self.actor}/{number}")  # they overtake one another
        return self.calls.send(self.entry(number, method, amount, target), args, self.chance)


class Deleted(Program):
    """One command in flight, and several lives."""

    async def run(self) -> None:
        total = number = began = 0
        before: list[Entry] = []
        while await self.think():
            number += 1
            if before and self.chance.random() < DELETED:
                entry = await self.calls.delete(self.entry(number, DELETE, 0))
                if entry.outcome != "done":
                    return  # nobody knows in which life what follows would be
                if self.chance.random() < REPEATED:
                    await self.calls.repeat(self.chance.choice(before))
                total, began, before = 0, entry.seq, []
                continue
            amount = self.chance.randint(1, 99)
            total += amount
            entry = await self.calls.send(self.entry(number, "add", amount), {"amount": amount}, self.chance)
            before.append(entry)
            if entry.outcome == "stuck":
                return
            told, right = [(entry.value, entry.seq)], (total, began + len(before))
            if self.chance.random() < self.looks and (look := await self.calls.look(self.actor, self.actor)):
                told.append((look.value, look.seq))
            if any(one != right for one in told):
                found = f"command {number} and a look behind it were answered with {told}; {right} is right"
                self.calls.record.misordered.append((self.actor, found))
                return


class Publish(Program):
    """The broker's word alone."""

    async def run(self) -> None:
        number = 0
        while await self.think():
            amount = self.chance.randint(1, 99)
            number += 1
            entry = await self.calls.publish(self.entry(number, "add", amount), {"amount": amount})
            if entry.outcome == "stuck":
                return


class Errand(Program):
    """Executions with steps."""

    async def run(self) -> None:
        number = 0
        while await self.think():
            amount = self.chance.randint(1, 99)
            number += 1
            target = self.chance.choice(self.others)
            entry = self.entry(number, "run", amount, target)
            await self.calls.send(entry, {"to": address_of(target).key, "amount": amount}, self.chance)
            if entry.outcome == "stuck":
                return
            if entry.value != number:
                found = f"errand {number} was answered with {entry.value}"
                self.calls.record.misordered.append((self.actor, found))
                return


class Wait(Program):
    """Executions that are told something while they wait."""

    async def run(self) -> None:
        total = number = 0
        while await self.think():
            number += 1
            if self.chance.random() < CANCELLED:
                entry = self.entry(number, "leave", 0)
                going = asyncio.ensure_future(self.calls.send(entry, {}, self.chance))
                await asyncio.sleep(self.chance.uniform(0.0, LONGEST_PAUSE_S))
                await self.calls.say(self.actor, control.CANCEL, control.Cancel(entry.id, "changed its mind"), going)
            else:
                amount, pause_s = self.chance.randint(1, 99), round(self.chance.uniform(0.0, LONGEST_PAUSE_S), 3)
                total += amount
                entry = self.entry(number, "wait", amount)
                going = asyncio.ensure_future(self.calls.send(entry, {"pause_s": pause_s}, self.chance))
                await self.calls.say(self.actor, control.SIGNAL, control.Signal(entry.id, "go", amount), going)
            if (await going).outcome == "stuck":
                return
            if entry.method == "wait" and (entry.value != total or entry.waited_s < pause_s):
                found = f"wait {number} was answered with {entry.value} after {entry.waited_s:.3f} s; {total} is right"
                self.calls.record.misordered.append((self.actor, f"{found}, and {pause_s} s or more"))
                return


async def sample(calls: Calls, actors: Sequence[str], chance: random.Random, pause_s: float) -> None:
    """Looks at counters at random, for ever, one after the other."""
    while True:
        await calls.look(chance.choice(actors), "sampler")
        await asyncio.sleep(chance.expovariate(1 / pause_s))

"""What the load does with agents: conversations, a few messages behind one another, some of them called off.

A message begins a run, or waits behind the one that is at work; it may interrupt that one, or be refused while there is
one. Each is a plan (rote.py). A conversation ends after some messages, once they are answered, and another begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from actors.sessions.session import Heard, Status
from tests.chaos.calls import Kept, address_of, entry_of
from tests.chaos.programs import Program
from tests.chaos.record import CALL_OFF, SAID, Entry
from tests.chaos.rote import ADD, HAND_OFF, MARK, Call, Plan

MESSAGES = 30
"""Of a conversation."""

IN_FLIGHT = 2
MOST_ROUNDS = 2
LOOK_PAUSE_S = 0.2
INTERRUPTS, REJECTS, CALLED_OFF, HANDED = 0.1, 0.1, 0.1, 0.4
"""Shares of the messages: that interrupt, that do not wait, that are called off, whose agent hands over."""

LONGEST_PAUSE_S = 1.0

_heard = msgspec.json.Decoder(Heard)
_status = msgspec.json.Decoder(Status)


def number_of(result: bytes | str) -> int:
    """What is kept of an answer to a message: its number, or 0 while it waits."""
    return _heard.decode(result).number


def whether(result: bytes | str) -> int:
    """1 when there was something to call off."""
    return int(msgspec.json.decode(result, type=bool))


KEPT: Mapping[str, Kept] = dict.fromkeys(SAID, number_of) | {CALL_OFF: whether}
"""method → what is kept of an answer."""


class Talk(Program):
    """Conversations, one after the other."""

    async def run(self) -> None:
        talk = 0
        while await self.think():
            talk += 1
            actor = f"{self.tenant}/session/{self.key}-{talk}"
            for number in range(1, MESSAGES + 1):
                if not await self._say(actor, number) or not await self._until(actor, IN_FLIGHT - 1):
                    return
                if not await self.think():
                    break
            await self._until(actor, 0)

    async def _say(self, actor: str, number: int) -> bool:
        """A message, and perhaps its end; false when nobody answered."""
        entry, text = self._drawn(actor, number)
        when_busy = {"say": "queue"}.get(entry.method, entry.method)
        args = {"text": text, "agent": "porter", "when_busy": when_busy}
        await self.calls.send(entry, args, self.chance, KEPT[entry.method])
        if entry.outcome == "done" and self.chance.random() < CALLED_OFF:
            await asyncio.sleep(self.chance.uniform(0.0, LONGEST_PAUSE_S))
            order = entry_of(actor, MESSAGES + number, CALL_OFF, 0, via="client", session=self.session)
            await self.calls.send(order, {"run": entry.id}, self.chance, KEPT[CALL_OFF])
            return order.outcome != "stuck"
        return entry.outcome != "stuck"

    def _drawn(self, actor: str, number: int) -> tuple[Entry, str]:
        chance, tenant = self.chance, self.tenant
        what = chance.random()
        method = "interrupt" if what < INTERRUPTS else "reject" if what < INTERRUPTS + REJECTS else "say"
        assert method in SAID
        target = chance.choice(self.others)
        entry = entry_of(actor, number, method, 0, via="client", session=self.session, target=target)
        rounds = [self._round(address_of(target).key) for _ in range(chance.randint(0, MOST_ROUNDS))]
        if chance.random() < HANDED:
            rounds.insert(chance.randint(0, len(rounds)), (Call(HAND_OFF),))
        entry.amount = sum(call.amount for calls in rounds for call in calls)
        return entry, msgspec.json.encode(Plan(f"{tenant}/{entry.id}", tuple(rounds))).decode()

    def _round(self, key: str) -> tuple[Call, ...]:
        """Some tool calls, side by side."""
        chance = self.chance
        some = [Call(MARK) for _ in range(chance.randint(0, 2))]
        added = [Call(ADD, key, chance.randint(1, 99)) for _ in range(chance.randint(0 if some else 1, 1))]
        return (*some, *added)

    async def _until(self, actor: str, most: int) -> bool:
        """Waits until at most so many messages are not answered; false when the time is over before that."""
        while time.monotonic() < self.calls.deadline:
            found: Any = await self.calls.query(actor, "status")
            if found is not None:
                status = _status.decode(found)
                if len(status.waiting) + (status.running is not None) <= most:
                    return True
            await asyncio.sleep(LOOK_PAUSE_S)
        return False

"""Concurrent clients on few keys, each with a program by the seed; what they see is the history."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from typing import Any

from tests.linearizability.history import Operation, unknown
from tests.linearizability.models import COUNTER, LIST, MAP, REGISTER, Model
from tests.linearizability.ways import COMMANDS, READS, Call, Ways

MODELS: dict[str, Model] = {"register": REGISTER, "tally": COUNTER, "chain": LIST, "cell": MAP}
"""What each kind of kinds.py is when nobody else is there."""

SLOTS = {"register": 3, "tally": 2, "chain": 2, "cell": 3}
"""Keys of each kind that are in use at a time."""

MAX_OPERATIONS = 150
MAX_UNKNOWN = 3
"""A key is left for a new one after so many operations, or so many whose outcome nobody knows: each of these doubles
what the checker has to think of."""

PATIENT_S = 20.0
READ_AFTER_WRITE = 0.3
"""How often a client looks at once at what it has changed: a state that lags behind an answer does so for a moment."""

NAMES = ("a", "b")


@dataclasses.dataclass(slots=True)
class Slot:
    """One of the keys in use. `last` is a value that some client saw or wrote, by name in a map."""

    kind: str
    number: int
    generation: int = 0
    operations: int = 0
    unknown: int = 0
    last: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """The actor's key."""
        return f"{self.kind}-{self.number}-{self.generation}"

    def turn_over(self) -> None:
        """Leaves a key that has had enough."""
        if self.operations >= MAX_OPERATIONS or self.unknown >= MAX_UNKNOWN:
            self.generation += 1
            self.operations = self.unknown = 0
            self.last = {}


class Clients:
    """All clients of one run. `history` grows while they run; `failed` are answers that are wrong in themselves."""

    def __init__(self, ways: Ways, seed: int, per_key: int, think_s: float) -> None:
        self._ways = ways
        self._seed = seed
        self._per_key = per_key
        self._think_s = think_s
        self._slots = [Slot(kind, number) for kind, count in SLOTS.items() for number in range(count)]
        self._values = 0
        self.history: list[Operation] = []
        self.failed: list[str] = []

    async def run(self, seconds: float) -> None:
        """Runs every client for so long, then reads each key once more."""
        end = time.monotonic() + seconds
        jobs = [
            self._client(number, slot, end)
            for number, slot in enumerate(slot for slot in self._slots for _ in range(self._per_key))
        ]
        await asyncio.gather(*jobs)
        keys = {one.key: _kind_of(one.key) for one in self.history}
        await asyncio.gather(*[self._read(-1, Slot(kind, 0), kind, key) for key, kind in keys.items()])

    async def _client(self, number: int, slot: Slot, end: float) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        count = 0
        while time.monotonic() < end:
            await asyncio.sleep(chance.expovariate(1 / self._think_s))
            count += 1
            slot.turn_over()
            slot.operations += 1
            method, argument, args = PROGRAMS[slot.kind](chance, slot, self._new_value)
            reads = method in MODELS[slot.kind].reads
            way = chance.choice(READS if reads else COMMANDS)
            # A caller in a hurry leaves commands behind whose outcome it never learns.
            timeout_s = 0.2 if not reads and chance.random() < 0.01 else PATIENT_S
            call = Call(slot.kind, slot.key, method, args, f"c{number}-{count}", timeout_s)
            known = await self._one(number, slot, way, call, argument)
            if known and not reads and chance.random() < READ_AFTER_WRITE:
                slot.operations += 1
                await self._read(number, slot, call.kind, call.key)

    async def _read(self, number: int, slot: Slot, kind: str, key: str) -> bool:
        method = next(iter(MODELS[kind].reads))
        return await self._one(number, slot, "query", Call(kind, key, method, {}, "", PATIENT_S), None)

    async def _one(self, number: int, slot: Slot, way: str, call: Call, argument: Any) -> bool:
        """Sends one operation and writes it down; whether it was answered."""
        place = len(self.history)
        asked = Operation(call.key, call.method, argument, None, time.monotonic(), 0.0, number, way)
        self.history.append(unknown(asked))
        try:
            outcome = await self._ways.send(way, call)
        except AssertionError as error:
            self.failed.append(str(error))
            return False
        if outcome.known:
            self.history[place] = asked._replace(result=outcome.result, returned=time.monotonic())
            if call.key == slot.key:
                _remember(slot, call.method, argument, outcome.result)
        elif call.method not in MODELS[call.kind].reads and call.key == slot.key:
            slot.unknown += 1
        return outcome.known

    def _new_value(self) -> int:
        self._values += 1
        return self._values


def _kind_of(key: str) -> str:
    return key.partition("-")[0]


def _remember(slot: Slot, method: str, argument: Any, result: Any) -> None:
    if method == "write":
        slot.last[""] = argument
    elif method == "read":
        slot.last[""] = result
    elif method == "entries":
        slot.last = dict(result)


Program = Callable[[random.Random, Slot, Callable[[], int]], tuple[str, Any, dict[str, Any]]]
"""Gives (method, argument as the model takes it, arguments as the actor takes them)."""


def _on_register(chance: random.Random, slot: Slot, new: Callable[[], int]) -> tuple[str, Any, dict[str, Any]]:
    what = chance.random()
    if what < 0.5:
        return "read", None, {}
    value = new()
    if what < 0.75:
        return "write", value, {"value": value}
    expected = slot.last.get("", 0)
    return "cas", (expected, value), {"expected": expected, "new": value}


def _on_tally(chance: random.Random, slot: Slot, new: Callable[[], int]) -> tuple[str, Any, dict[str, Any]]:
    if chance.random() < 0.5:
        return "value", None, {}
    amount = chance.randint(1, 9)
    return "add", amount, {"amount": amount}


def _on_chain(chance: random.Random, slot: Slot, new: Callable[[], int]) -> tuple[str, Any, dict[str, Any]]:
    if chance.random() < 0.6:
        return "items", None, {}
    item = new()
    return "append", item, {"item": item}


def _on_cell(chance: random.Random, slot: Slot, new: Callable[[], int]) -> tuple[str, Any, dict[str, Any]]:
    what, name = chance.random(), chance.choice(NAMES)
    if what < 0.5:
        return "entries", None, {}
    if what < 0.6:
        return "drop", name, {"name": name}
    value = new()
    if what < 0.8:
        return "put", (name, value), {"name": name, "value": value}
    expected = slot.last.get(name)
    return "swap", (name, expected, value), {"name": name, "expected": expected, "value": value}


PROGRAMS: dict[str, Program] = {
    "register": _on_register, "tally": _on_tally, "chain": _on_chain, "cell": _on_cell
}  # fmt: skip

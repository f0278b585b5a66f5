"""What a process of load is told, and what it tells; and the loop they all share."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec


class Load(msgspec.Struct):
    """What one process does: `in_flight` callers, each going on to the next key as soon as it is answered."""

    target: str
    keys: list[str]
    in_flight: int
    begin_at: float
    """Unix seconds at which the measurement begins, told once all are up; the load begins at once."""
    seconds: float


class RunLoad(Load):
    """What one process does that starts runs, each of so many `steps`."""

    steps: int


class Tally(msgspec.Struct):
    """What one process saw. Times in seconds; `waits` are those of commands answered in the measurement."""

    answered: int
    failed: int
    waits: list[float]
    cpu_s: float


READY = b"ready\n"

Call = Callable[[str], Awaitable[bool]]
"""Calls one key; false when it was answered with an error."""


def begin(load: Load) -> None:
    """Says that everything is up, and waits to be told when the measurement begins."""
    with open(1, "wb", closefd=False) as out:
        out.write(READY)
    load.begin_at = float(sys.stdin.readline())


async def drive(load: Load, callers: list[Call]) -> Tally:
    """Calls until the measurement is over, from when it is told to begin, and waits for what is in flight."""
    begin(load)
    end = load.begin_at + load.seconds
    tally = Tally(0, 0, [], 0.0)
    number = 0

    async def one(call: Call) -> None:
        nonlocal number
        while time.time() < end:
            number += 1
            key = load.keys[number % len(load.keys)]
            asked = time.perf_counter()
            tally.failed += not await call(key)
            waited = time.perf_counter() - asked
            tally.answered += 1
            if load.begin_at <= time.time() < end:
                tally.waits.append(waited)

    async def watch() -> None:
        await asyncio.sleep(max(0.0, load.begin_at - time.time()))
        early = cpu_s()
        await asyncio.sleep(max(0.0, end - time.time()))
        tally.cpu_s = cpu_s() - early

    await asyncio.gather(watch(), *[one(call) for call in callers])
    return tally


def tell(tally: Tally) -> None:
    """Writes a tally to stdout."""
    with open(1, "wb", closefd=False) as out:  # sys.stdout is unbuffered under PYTHONUNBUFFERED, and writes a part
        out.write(msgspec.msgpack.encode(tally))


def told() -> Load:
    """The load this process was started with."""
    return msgspec.json.decode(sys.argv[1], type=Load)


def cpu_s() -> float:
    """Processor seconds that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

"""The load of a chaos run, as a process: `python -m tests.chaos.load '<LoadPlan as JSON>'`.

    s<n>   one command in flight, additions only: every answer must be the running total
    r<n>   the same in plain nats-py, without our client
    l<n>   several in flight: additions, transfers to another of them, timers, retried failures

A few per cent of the commands are asked twice under their id, at the same time or later: both answers must agree.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from runtime.client import Client
from runtime.errors import TroupeError
from schemas.wire import Failure, Reply
from tests.chaos.raw import RawCaller
from tests.chaos.record import Entry, LoadPlan, Record, write

KIND = "counter"
IN_FLIGHT = 4
RAW_SHARE = 10
"""One in so many keys is called in plain nats-py."""

_int_or_none = msgspec.json.Decoder(int | None)


class Load:
    """The keys of one process and what they have seen."""

    def __init__(self, plan: LoadPlan, client: Client, raw: RawCaller) -> None:
        self._plan = plan
        self._client = client
        self._raw = raw
        self._end = time.monotonic() + plan.seconds
        self._deadline = self._end + plan.settle_s
        self._think_s = plan.keys / plan.rate
        self.record = Record([], [])

    async def run(self) -> None:
        """Drives every key until the time is over and its last command is answered."""
        jobs = []
        loose = [f"l{n}" for n in range(self._plan.keys) if n % 2]
        for n in range(self._plan.keys):
            if n % 2:
                jobs.append(self._loose(f"l{n}", loose))
            else:
                jobs.append(self._strict(f"r{n}" if n % RAW_SHARE == 0 else f"s{n}"))
        await asyncio.gather(*jobs)

    async def _strict(self, key: str) -> None:
        chance = random.Random(f"{self._plan.seed}/{key}")
        total = number = 0
        while await self._think(chance):
            amount = chance.randint(1, 99)
            number += 1
            total += amount
            entry = await self._send(key, f"{key}-{number}", "add", {"amount": amount}, chance, amount=amount)
            if entry.outcome == "stuck":
                return
            if (entry.value, entry.seq) != (total, number):
                found = f"command {number} was answered with value {entry.value}, seq {entry.seq}; {total} is right"
                self.record.misordered.append((key, found))
                return  # what follows would be wrong because of this one

    async def _loose(self, key: str, others: list[str]) -> None:
        chance = random.Random(f"{self._plan.seed}/{key}")
        flying: set[asyncio.Task[Entry]] = set()
        number = 0
        while await self._think(chance):
            if len(flying) >= IN_FLIGHT:
                _, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            number += 1
            flying.add(asyncio.ensure_future(self._any(key, f"{key}-{number}", others, chance)))
        if flying:
            await asyncio.wait(flying)

    def _any(self, key: str, id_: str, others: list[str], chance: random.Random) -> Any:
        amount, what = chance.randint(1, 99), chance.random()
        if what < 0.04:
            target = chance.choice(others)
            arguments = {"to": target, "amount": amount}
            return self._send(key, id_, "forward", arguments, chance, amount=amount, target=target)
        if what < 0.06:
            timer = {"amount": amount, "after_s": round(chance.uniform(0.0, 3.0), 3), "name": id_}
            return self._send(key, id_, "add_later", timer, chance, amount=amount)
        if what < 0.07:
            return self._send(key, id_, "flaky", {"fails": 1}, chance, amount=1)
        return self._send(key, id_, "add", {"amount": amount}, chance, amount=amount)

    async def _think(self, chance: random.Random) -> bool:
        """Waits before the next command; false when there is none."""
        await asyncio.sleep(chance.expovariate(1 / self._think_s))
        return time.monotonic() < self._end

    async def _send(
        self, key: str, id_: str, method: str, args: Any, chance: random.Random, *, amount: int, target: str = ""
    ) -> Entry:
        """One command, answered and written down; sometimes asked twice."""
        entry = Entry(key, id_, method, amount, target, time.time())
        self.record.entries.append(entry)
        body, twice = msgspec.json.encode(args), chance.random()
        started = time.monotonic()
        try:
            if twice < 0.01:
                both = [self._call(key, id_, method, body) for _ in range(2)]
                reply, other = await asyncio.gather(*both)
                entry.again = (_int_or_none.decode(other.result), other.seq)
            else:
                reply = await self._call(key, id_, method, body)
        except (TroupeError, TimeoutError) as error:
            entry.error = str(error)
            return entry
        entry.waited_s = time.monotonic() - started
        entry.seq = reply.seq
        if reply.error is not None:
            entry.outcome = "rejected" if reply.error.code == "rejected" else "failed"
            entry.error = _text(reply.error)
            return entry
        entry.outcome = "done"
        entry.value = _int_or_none.decode(reply.result)
        if 0.01 <= twice < 0.02:
            await self._ask_again(entry, body)
        return entry

    async def _ask_again(self, entry: Entry, body: bytes) -> None:
        try:
            reply = await self._call(entry.key, entry.id, entry.method, body)
        except (TroupeError, TimeoutError) as error:
            entry.outcome, entry.error = "stuck", f"asked again: {error}"
            return
        entry.again = (_int_or_none.decode(reply.result), reply.seq)

    async def _call(self, key: str, id_: str, method: str, body: bytes) -> Reply:
        timeout_s = self._deadline - time.monotonic()
        if key[0] == "r":
            return await self._raw.call(KIND, key, method, body, id_, timeout_s)
        return await self._client.call(KIND, key, method, body, id=id_, timeout_s=timeout_s)


def _text(failure: Failure) -> str:
    return f"{failure.code}: {failure.message}"


async def main(plan: LoadPlan) -> None:
    client = await Client.connect(plan.nats_url)
    raw = await RawCaller.connect(plan.nats_url)
    load = Load(plan, client, raw)
    await load.run()
    write(Path(plan.record), load.record)
    await raw.close()
    await client.close()


if __name__ == "__main__":
    logging.getLogger("troupe").setLevel(logging.ERROR)  # the broker is killed on purpose
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=LoadPlan)))

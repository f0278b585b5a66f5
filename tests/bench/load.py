"""A process that calls counters over NATS: `python -m tests.bench.load '<NatsLoad as JSON>'`; answers with a Tally."""

from __future__ import annotations

import asyncio
import resource
import sys
import time

import msgspec
import uvloop

from runtime.client import Client

BODY = b'{"amount":1}'


class NatsLoad(msgspec.Struct):
    """What one process does: `in_flight` callers, each asking for the next key as soon as it is answered."""

    nats_url: str
    keys: list[str]
    in_flight: int
    begin_at: float
    """Unix seconds at which the measurement begins; the load begins at once."""
    seconds: float


class Tally(msgspec.Struct):
    """What one process saw. Times in seconds; `waits` are those that ended in the measurement, sorted."""

    answered: int
    measured: int
    failed: int
    waits: list[float]
    cpu_s: float


async def run(load: NatsLoad) -> Tally:
    """Calls until the measurement is over, and waits for what is in flight."""
    client = await Client.connect(load.nats_url)
    end = load.begin_at + load.seconds
    answered = failed = number = 0
    waits: list[float] = []
    cpu_at_begin = 0.0

    async def caller() -> None:
        nonlocal answered, failed, number, cpu_at_begin
        while (now := time.time()) < end:
            number += 1
            key = load.keys[number % len(load.keys)]
            asked = time.perf_counter()
            reply = await client.call("counter", key, "add", BODY)
            waited = time.perf_counter() - asked
            answered += 1
            failed += reply.error is not None
            if load.begin_at <= now:
                if not cpu_at_begin:
                    cpu_at_begin = _cpu_s()
                if time.time() < end:
                    waits.append(waited)

    await asyncio.gather(*[caller() for _ in range(load.in_flight)])
    cpu_s = _cpu_s() - cpu_at_begin
    await client.close()
    return Tally(answered, len(waits), failed, sorted(waits), cpu_s)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    tally = uvloop.run(run(msgspec.json.decode(sys.argv[1], type=NatsLoad)))
    with open(1, "wb", closefd=False) as out:  # sys.stdout is unbuffered under PYTHONUNBUFFERED, and writes a part
        out.write(msgspec.msgpack.encode(tally))

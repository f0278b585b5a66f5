"""A process that keeps states over NATS, as large as LangGraph's: `python -m tests.peers.notes '<Load as JSON>'`."""

from __future__ import annotations

import itertools

import uvloop

from runtime.client import Client
from runtime.garbage import collect_rarely
from tests.bench.tally import Load, Tally, drive, tell, told
from tests.peers.work import TEXT


async def run(load: Load) -> Tally:
    """Calls until the measurement is over."""
    numbers = itertools.count(1)
    async with await Client.connect(load.target) as client:

        async def call(key: str) -> bool:
            body = b'{"number":%d,"text":"%b"}' % (next(numbers), TEXT.encode())
            return (await client.call("note", key, "keep", body)).error is None

        return await drive(load, [call] * load.in_flight)


if __name__ == "__main__":
    collect_rarely()
    tell(uvloop.run(run(told())))

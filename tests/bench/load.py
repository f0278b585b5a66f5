"""A process that calls counters over NATS: `python -m tests.bench.load '<Load as JSON>'`; answers with a Tally."""

from __future__ import annotations

import uvloop

from runtime.client import Client
from runtime.garbage import collect_rarely
from tests.bench.tally import Load, Tally, drive, tell, told

BODY = b'{"amount":1}'


async def run(load: Load) -> Tally:
    """Calls until the measurement is over."""
    async with await Client.connect(load.target) as client:

        async def call(key: str) -> bool:
            return (await client.call("counter", key, "add", BODY)).error is None

        return await drive(load, [call] * load.in_flight)


if __name__ == "__main__":
    collect_rarely()
    tell(uvloop.run(run(told())))

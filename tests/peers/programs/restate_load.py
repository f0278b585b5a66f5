"""Posts to Restate's ingress, over HTTP/1.1 connections that are kept, one for each caller."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import uvloop

from tests.bench.intents import Poster
from tests.bench.tally import Call
from tests.peers.programs.job import Job, run, told


async def main(job: Job) -> None:
    """Calls Counter/<key>/add until the measurement is over."""
    where = urlsplit(job.target)
    assert where.hostname is not None
    assert where.port is not None
    loop = asyncio.get_running_loop()
    transports, calls = [], []
    for _ in range(job.in_flight):
        transport, poster = await loop.create_connection(lambda: Poster(where.netloc), where.hostname, where.port)
        transports.append(transport)
        calls.append(_adder(poster))
    await run(job, calls)
    for transport in transports:
        transport.close()


def _adder(poster: Poster) -> Call:
    async def add(key: str) -> bool:
        return await poster.send(f"/Counter/{key}/add", b"1")

    return add


if __name__ == "__main__":
    uvloop.run(main(told()))

"""Posts to Restate's ingress, over HTTP/1.1 connections that are kept, one for each caller."""

from __future__ import annotations

import asyncio
import itertools
from urllib.parse import urlsplit

import uvloop

from tests.bench.intents import Poster
from tests.bench.tally import Call
from tests.peers.programs.job import Job, run, told


async def main(job: Job) -> None:
    """Calls Counter/<key>/add, or runs of ten steps, until the measurement is over."""
    where = urlsplit(job.target)
    assert where.hostname is not None
    assert where.port is not None
    loop = asyncio.get_running_loop()
    transports, calls = [], []
    for number in range(job.in_flight):
        transport, poster = await loop.create_connection(lambda: Poster(where.netloc), where.hostname, where.port)
        transports.append(transport)
        form = job.setting.get("form")
        calls.append(_adder(poster) if form is None else _runner(poster, form == "workflow", f"{job.number}-{number}"))
    await run(job, calls)
    for transport in transports:
        transport.close()


def _adder(poster: Poster) -> Call:
    async def add(key: str) -> bool:
        return await poster.send(f"/Counter/{key}/add", b"1")

    return add


def _runner(poster: Poster, keyed: bool, own: str) -> Call:
    numbers = itertools.count()

    async def run_steps(_: str) -> bool:
        path = f"/Errand/{own}-{next(numbers)}/run" if keyed else "/Walk/run"
        return await poster.send(path, b"10")

    return run_steps


if __name__ == "__main__":
    uvloop.run(main(told()))

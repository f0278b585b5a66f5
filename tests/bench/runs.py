"""A process that starts runs over NATS: `python -m tests.bench.runs '<RunLoad as JSON>'`; answers with a Tally."""

from __future__ import annotations

import itertools
import sys
import uuid

import msgspec
import uvloop

from runtime.client import Client
from runtime.garbage import collect_rarely
from tests.bench.tally import RunLoad, Tally, drive, tell


async def run(load: RunLoad) -> Tally:
    """Starts runs, each under an id of its own, and waits for their results until the measurement is over."""
    body = b'{"steps":%d}' % load.steps
    own, numbers = uuid.uuid4().hex, itertools.count()
    async with await Client.connect(load.target) as client:

        async def call(_: str) -> bool:
            run_id = f"{own}-{next(numbers)}"
            return (await client.call("walk", run_id, "run", body, timeout_s=60)).error is None

        return await drive(load, [call] * load.in_flight)


if __name__ == "__main__":
    collect_rarely()
    tell(uvloop.run(run(msgspec.json.decode(sys.argv[1], type=RunLoad))))

"""A process that calls counters of many tenants: its one key `<tenants>/<keys>` says of how many."""

from __future__ import annotations

import uvloop

from runtime.client import Client
from runtime.garbage import collect_rarely
from tests.bench.load import BODY
from tests.bench.tally import Load, Tally, drive, tell, told


async def run(load: Load) -> Tally:
    """Calls until the measurement is over."""
    tenants, keys = map(int, load.keys[0].split("/"))
    load.keys = [f"{number % tenants}/k{number}" for number in range(keys)]
    async with await Client.connect(load.target) as base:
        clients = [await base.for_tenant(f"t{number}") for number in range(tenants)]

        async def call(key: str) -> bool:
            tenant, _, own = key.partition("/")
            return (await clients[int(tenant)].call("counter", own, "add", BODY)).error is None

        return await drive(load, [call] * load.in_flight)


if __name__ == "__main__":
    collect_rarely()
    tell(uvloop.run(run(told())))

"""Disks and streams with no room left."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from runtime.infra.errors import ServerFailed
from runtime.infra.server import Server
from tests.chaos.faults.fault import Fault, FaultKind
from tests.chaos.stage import Needs, broker, quota

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults

FULL_S = (1.0, 4.0)
REST_S = 3.0
"""Before the next one of the same disk."""



async def postgres_disk(faults: Faults) -> None:
    name = faults.database()
    await _fill(faults, "disk-postgres", name, faults.stage.postgres_in_use)


async def nats_disk(faults: Faults) -> None:
    await _fill(faults, "disk-nats", "nats", faults.stage.nats_in_use)


async def stream(faults: Faults) -> None:
    """CMD takes nothing for a while. What is behind the checkpoints is trimmed at once then: nobody may need it."""
    async with faults.stage.history_in_use, faults.stage.nats_in_use:
        full_s = faults.chance.uniform(*FULL_S)
        limit = await broker.fill_commands(faults.stage.nats_url)
        fault = faults.note("stream", "CMD", f"full for {full_s:.1f} s")
        await asyncio.sleep(full_s)
        await broker.set_limit(faults.stage.nats_url, limit)
        fault.until = time.time()


async def _fill(faults: Faults, kind: str, name: str, in_use: asyncio.Lock) -> None:
    await in_use.acquire()
    full_s = faults.chance.uniform(*FULL_S)
    disk = faults.stage.quotas[name]
    await asyncio.to_thread(disk.fill)
    fault = faults.note(kind, f"the disk of {name}", f"full for {full_s:.1f} s")
    faults.spawn(_free(faults, fault, name, full_s, in_use))


async def _free(faults: Faults, fault: Fault, name: str, seconds: float, in_use: asyncio.Lock) -> None:
    """Gives the room back, and does for the servers what their owner does every second."""
    try:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(faults.stage.quotas[name].free)
        if await _revive(faults.stage.databases.get(name, faults.stage.nats)):
            fault.detail += ", and the server started again"
        fault.until = time.time()
        await asyncio.sleep(REST_S)
    finally:
        in_use.release()


async def _revive(server: Server) -> bool:
    """A server that cannot be started may still be ending: tried as often as its owner would."""
    for _ in range(5):
        try:
            return await asyncio.to_thread(server.revive)
        except ServerFailed:
            await asyncio.sleep(0.5)
    return await asyncio.to_thread(server.revive)


_QUOTAS = Needs(quotas=True)
KINDS = (
    FaultKind("disk-postgres", "the disk of Postgres is full for some seconds", postgres_disk, _QUOTAS, quota.missing),
    FaultKind("disk-nats", "the disk of nats-server is full for some seconds", nats_disk, _QUOTAS, quota.missing),
    FaultKind("stream", "the stream of commands is full for some seconds", stream),
)

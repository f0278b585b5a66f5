"""Servers that come back with less than they had: a power cut of the broker, a restored backup of the database."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import FaultKind
from tests.chaos.stage import broker

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults

BACKUP_AGE_S = (1.0, 6.0)
"""Less than what pods leave in the stream (trim_lag_s), from which the restored log takes the rest again."""

CAUGHT_UP_S = 6.0
"""After a restored backup, before the broker may lose something too: two disasters at once are not promised."""


async def power(faults: Faults) -> None:
    async with faults.stage.history_in_use, faults.stage.nats_in_use:
        lost_s = faults.chance.uniform(0.05, broker.SYNC_S)
        torn = faults.chance.choice([0, 10, 100])
        fault = faults.note("power", "nats-server")
        fault.since = fault.at - lost_s
        fault.lost = await broker.cut_power(faults.stage.nats, lost_s, torn, faults.chance.choice([0.05, 0.5]))
        counts = ", ".join(f"{len(lost)} of {stream}" for stream, lost in sorted(fault.lost.items()))
        fault.detail = f"takes {lost_s:.2f} s: {counts or 'nothing'}"
        fault.until = time.time()


async def restore(faults: Faults) -> None:
    await faults.stage.history_in_use.acquire()
    faults.spawn(_restore(faults, faults.chance.uniform(*BACKUP_AGE_S)))


async def _restore(faults: Faults, age_s: float) -> None:
    stage = faults.stage
    try:
        async with stage.postgres_in_use:
            taken = await asyncio.to_thread(stage.backup.take, lambda: faults.world.mark("backup"))
        await asyncio.sleep(age_s)
        async with stage.postgres_in_use:
            fault = faults.note("restore", "PostgreSQL", f"with a backup of {time.time() - taken:.1f} s before")
            fault.since = taken
            await asyncio.to_thread(stage.backup.put_back, lambda: faults.world.mark("restored"))
            fault.until = time.time()
        await asyncio.sleep(CAUGHT_UP_S)
    finally:
        stage.history_in_use.release()


KINDS = (
    FaultKind("power", "the broker loses what it stored in up to the last second, as by a power cut", power),
    FaultKind("restore", "Postgres is restored from a backup that is some seconds old", restore),
)

"""The broker and the database die and come back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import FaultKind
from tests.chaos.stage import broker, database

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults

OUTAGE_S = 60.0
REST_S = 20.0
"""After an outage, so that it is seen how everything resumes."""


async def nats(faults: Faults) -> None:
    await _crash_nats(faults, "nats", faults.chance.choice([0.05, 0.5, 1.5]))


async def postgres(faults: Faults) -> None:
    await _crash_postgres(faults, "postgres", faults.chance.choice([0.0, 0.5, 1.5]))


async def minute_without_nats(faults: Faults) -> None:
    await _crash_nats(faults, "minute-nats", OUTAGE_S)


async def minute_without_postgres(faults: Faults) -> None:
    await _crash_postgres(faults, "minute-postgres", OUTAGE_S)


async def _crash_nats(faults: Faults, kind: str, down_s: float) -> None:
    async with faults.stage.nats_in_use:
        cluster = faults.stage.cluster
        servers = cluster.members if cluster is not None else [faults.stage.nats]
        victim = "nats-server" if cluster is None else "all three nats-servers"
        fault = faults.note(kind, victim, f"down for {down_s} s")
        await asyncio.gather(*[broker.crash(server, down_s) for server in servers])
        fault.until = time.time()


async def _crash_postgres(faults: Faults, kind: str, down_s: float) -> None:
    async with faults.stage.postgres_in_use:
        name = faults.database()
        fault = faults.note(kind, name, f"down for {down_s} s")
        await database.crash(faults.stage.databases[name], down_s)
        fault.until = time.time()


KINDS = (
    FaultKind("nats", "SIGKILL of nats-server, and its start up to 1.5 s later", nats),
    FaultKind("postgres", "SIGKILL of Postgres and its sessions, and its start up to 1.5 s later", postgres),
    FaultKind(
        "minute-nats", "nats-server away for a whole minute", minute_without_nats, rest_s=REST_S, outage=True
    ),
    FaultKind(
        "minute-postgres", "Postgres away for a whole minute", minute_without_postgres, rest_s=REST_S, outage=True
    ),
)

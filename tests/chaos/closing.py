"""What is asked of the system once a run is over: every counter's state, and one command of every partition."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

import msgspec

from runtime.client import Client
from runtime.errors import TroupeError
from schemas.address import encode_token, partition_of
from tests.chaos.calls import address_of
from tests.chaos.evidence import Finding
from tests.chaos.record import Look
from tests.chaos.settings import TENANTS
from tests.support.system import System

AT_ONCE = 32
PROBE = "probe"
"""A tenant of its own, whose actors are nobody's business but the probe's."""


async def last_looks(system: System, actors: Iterable[str], patience_s: float) -> dict[str, Look]:
    """What these counters say of themselves; those that do not answer within so many seconds are missing."""
    found: dict[str, Look] = {}
    async with await Client.connect(system.nats_url, TENANTS[0]) as client:
        clients = {tenant: await client.for_tenant(tenant) for tenant in TENANTS}
        room = asyncio.Semaphore(AT_ONCE)

        async def look(actor: str) -> None:
            tenant, kind, key = address_of(actor)
            async with room:
                try:
                    reply = await clients[tenant].read(kind, key, "look", b"", timeout_s=patience_s)
                except TroupeError:
                    return
            if reply.error is None:
                value, pid = msgspec.json.decode(reply.result, type=tuple[int, int])
                found[actor] = Look(actor, "end", 0, reply.seq, value, pid)

        await asyncio.gather(*[look(actor) for actor in sorted(actors)])
        for own in clients.values():
            await own.close()
    return found


async def probe(system: System, patience_s: float) -> list[Finding]:
    """Sends one command to every partition; gives those that do not answer within so many seconds."""
    keys: dict[int, str] = {}
    for number in itertools.count():
        if len(keys) == system.partitions:
            break
        key = f"probe{number}"
        keys.setdefault(partition_of(PROBE, "counter", encode_token(key), system.partitions), key)
    stuck: list[Finding] = []
    async with await Client.connect(system.nats_url, PROBE) as client:

        async def ask(partition: int, key: str) -> None:
            try:
                await client.ask("counter", key, "add", {"amount": 1}, timeout_s=patience_s)
            except TroupeError as error:
                stuck.append((f"partition {partition}", f"a command to {key} is not answered: {error}"))

        await asyncio.gather(*[ask(partition, key) for partition, key in keys.items()])
    return stuck

"""Replay: how fast a long log becomes a state."""

from __future__ import annotations

import asyncio
import time

import uvloop

from runtime.client import Client
from runtime.host.loading import fold_log
from runtime.kind import StoredEvent
from runtime.postgres.reading import PostgresReader
from runtime.postgres.snapshots import PostgresSnapshots
from schemas.address import actor_id, partition_of
from tests.bench.figures import Figures
from tests.bench.kinds import Counter, ledger
from tests.bench.stage import Miscounted, Scene, Stage

ENTRIES = 1000
KEY = "long"


def replay(stage: Stage, events: int, figures: Figures) -> None:
    """One actor's events, read from Postgres page by page and folded, as a pod loads an actor without a snapshot."""
    with stage.scene() as scene:
        uvloop.run(_write(scene, events))
        counted = scene.system.sql("SELECT count(*) FROM events")[0][0]
        if counted != events:
            raise Miscounted(f"the log holds {counted} events instead of {events}")
        took_s = uvloop.run(_load(scene, events))
    folded_s = _fold_only(events)
    figures.say(f"replay: {events} events read and folded in {took_s:.2f} s; folded alone in {folded_s:.2f} s")
    figures.add(replay_events_per_s=events / took_s, fold_events_per_s=events / folded_s)


async def _write(scene: Scene, events: int) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        for _ in range(events // ENTRIES):
            await client.ask("ledger", KEY, "book", {"entries": ENTRIES})


async def _load(scene: Scene, events: int) -> float:
    url, partitions = scene.system.postgres_url, scene.system.partitions
    reader, snapshots = PostgresReader(url, partitions), PostgresSnapshots(url)
    await reader.positions()  # connected before the clock runs
    await snapshots.find(actor_id("default", "ledger", "none"), ledger.fold_version)
    actor, partition = actor_id("default", "ledger", KEY), partition_of("default", "ledger", KEY, partitions)
    begun = time.perf_counter()
    state, seq, _ = await fold_log(reader, snapshots, ledger, actor, partition)
    took_s = time.perf_counter() - begun
    await asyncio.gather(reader.close(), snapshots.close())
    if (state, seq) != (Counter(events), events):
        raise Miscounted(f"{events} events were folded to {state} at {seq}")
    return took_s


def _fold_only(events: int) -> float:
    stored = [StoredEvent(seq, "Added", 1, '{"amount":1}') for seq in range(1, events + 1)]
    begun = time.perf_counter()
    state = ledger.fold(ledger.initial(), stored)
    took_s = time.perf_counter() - begun
    if state != Counter(events):
        raise Miscounted(f"{events} events were folded to {state}")
    return took_s

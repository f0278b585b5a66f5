"""The axis of one actor's log: how long it takes to become active, with a snapshot and without."""

from __future__ import annotations

import asyncio
import statistics
import time

import uvloop

from runtime.client import Client
from tests.bench.stage import Miscounted, Scene, Stage

ENTRIES = 1000
TIMES = 3
KINDS = {"ledger": "folded_ms", "journal": "snapshot_ms"}
"""Kinds of tests.scale.kinds: one without snapshots, one with."""


def length(stage: Stage, size: int, _: float) -> dict[str, float]:
    """Writes logs of `size` events by commands, and asks for the state in pods that have nothing in memory."""
    with stage.scene(modules=("tests.scale.kinds", "tests.bench.kinds")) as scene:
        uvloop.run(_write(scene, size))
        waits: dict[str, list[float]] = {kind: [] for kind in KINDS}
        used: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(TIMES):
            scene.end_pods()
            scene.start_pod()
            scene.await_owners()
            uvloop.run(_ask(scene, size, waits, used))
        return {name: statistics.median(waits[kind]) * 1000 for kind, name in KINDS.items()} | {
            f"{name[:-3]}_pod_ms": statistics.median(used[kind]) * 1000 for kind, name in KINDS.items()
        }


async def _write(scene: Scene, size: int) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        for kind in KINDS:
            await client.ask(kind, "warm", "book", {"entries": 1})
            for first in range(0, size, ENTRIES):
                await client.ask(kind, "long", "book", {"entries": min(ENTRIES, size - first)}, timeout_s=120)
        while size >= ENTRIES and not scene.system.sql("SELECT 1 FROM snapshots s JOIN actors a USING (actor) "
                                                       "WHERE a.kind = 'journal' AND a.key = 'long'"):
            await asyncio.sleep(0.05)  # it is taken beside the turns


async def _ask(scene: Scene, size: int, waits: dict[str, list[float]], used: dict[str, list[float]]) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        for kind in KINDS:
            await client.query(kind, "warm", "total", timeout_s=60)  # the pod reads, and this client knows the way
            early, begun = scene.cpu_s()["pod"], time.perf_counter()
            total = await client.query(kind, "long", "total", timeout_s=170)
            waits[kind].append(time.perf_counter() - begun)
            used[kind].append(scene.cpu_s()["pod"] - early)
            if total != size:
                raise Miscounted(f"{kind} of {size} events was folded to {total}")

"""The measurements. Each gives flat names to numbers, and was checked against the events in Postgres."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from runtime.client import Client
from runtime.errors import CallFailed
from runtime.host.loading import fold_log
from runtime.postgres.reading import PostgresReader
from runtime.postgres.snapshots import PostgresSnapshots
from schemas.address import actor_id, partition_of
from tests.bench.kinds import ledger
from tests.bench.processor import resident_bytes
from tests.bench.rate import Rate, measure
from tests.bench.stage import Miscounted, Scene, Stage

KEYS = [f"k{number}" for number in range(1000)]
OVER_NATS = "tests.bench.load"
OVER_HTTP = "tests.bench.intents"
SETTLED_S = 2.0

Figures = dict[str, float]
Measurement = Callable[[Stage, float], Figures]


def nats_saturated(stage: Stage, seconds: float) -> Figures:
    """1000 keys, two client processes, as many in flight as give the most."""
    found: list[Rate] = []
    for in_flight in (512, 1024, 2048):
        with stage.scene() as scene:
            rate = measure(
                scene, OVER_NATS, scene.system.nats_url, KEYS, processes=2, in_flight=in_flight, seconds=seconds
            )
            found.append(rate)
            totals = scene.end_pods()
            if rate is max(found, key=lambda one: one.per_s):
                batches = max(1.0, totals["batches"])
                split = {
                    f"nats_batch_{name[:-2]}_ms": totals[name] / batches * 1000
                    for name in ("read_s", "turns_s", "write_s")
                }
    best = max(found, key=lambda one: one.per_s)
    figures: Figures = {
        "nats_commands_per_s": best.per_s,
        "nats_in_flight": best.in_flight,
        "nats_p50_ms": best.p50_ms,
        "nats_p99_ms": best.p99_ms,
    }
    return figures | {f"nats_{who}_us": used for who, used in best.cpu_us.items()} | split


def nats_one_in_flight(stage: Stage, seconds: float) -> Figures:
    """One command at a time."""
    with stage.scene() as scene:
        rate = measure(scene, OVER_NATS, scene.system.nats_url, KEYS, processes=1, in_flight=1, seconds=seconds)
    return {"nats_one_in_flight_p50_ms": rate.p50_ms, "nats_one_in_flight_p99_ms": rate.p99_ms}


def hot_key(stage: Stage, seconds: float) -> Figures:
    """All commands to one key."""
    with stage.scene() as scene:
        rate = measure(scene, OVER_NATS, scene.system.nats_url, ["hot"], processes=2, in_flight=1024, seconds=seconds)
    return {"hot_key_commands_per_s": rate.per_s, "hot_key_p50_ms": rate.p50_ms}


def http(stage: Stage, seconds: float) -> Figures:
    """POST /intent that waits for its result, through one gateway process."""
    with stage.scene(gateway=True) as scene:
        one = measure(scene, OVER_HTTP, scene.gateway_url, KEYS, processes=1, in_flight=1, seconds=seconds)
        full = measure(scene, OVER_HTTP, scene.gateway_url, KEYS, processes=1, in_flight=96, seconds=seconds)
    figures: Figures = {
        "http_intents_per_s": full.per_s,
        "http_p50_ms": full.p50_ms,
        "http_p99_ms": full.p99_ms,
        "http_one_in_flight_p50_ms": one.p50_ms,
    }
    return figures | {f"http_{who}_us": used for who, used in full.cpu_us.items()}


def cold_activation(stage: Stage, seconds: float) -> Figures:
    """Actors with one event each, none of them in memory; every command is the first of its actor's activation."""
    keys = [f"c{number}" for number in range(int(12_000 * (seconds + SETTLED_S)))]
    with stage.scene() as scene:
        _touch_all(scene, keys)
        scene.end_pods()
        scene.start_pod()
        scene.await_owners()
        rate = measure(scene, OVER_NATS, scene.system.nats_url, keys, processes=2, in_flight=1024, seconds=seconds)
        again = scene.system.sql("SELECT count(*) FROM events WHERE seq > 2")[0][0]
    if again:
        raise Miscounted(f"{again} commands came to actors that were in memory already")
    return {"cold_activations_per_s": rate.per_s}


def replay(stage: Stage, seconds: float) -> Figures:
    """One actor's long log, read from Postgres and folded, as for an activation without a snapshot."""
    turns, entries = 200, 1000
    with stage.scene() as scene:
        asyncio.run(_book(scene, turns, entries))
        tenant, kind, key = "default", ledger.name, "long"
        partition = partition_of(tenant, kind, key, scene.system.partitions)

        async def fold() -> tuple[object, int, float]:
            reader = PostgresReader(scene.system.postgres_url, scene.system.partitions)
            snapshots = PostgresSnapshots(scene.system.postgres_url)
            began = time.perf_counter()
            state, seq = await fold_log(reader, snapshots, ledger, actor_id(tenant, kind, key), partition)
            took = time.perf_counter() - began
            await reader.close()
            await snapshots.close()
            return state, seq, took

        runs = [asyncio.run(fold()) for _ in range(3)]
    state, seq, _ = runs[0]
    if seq != turns * entries or getattr(state, "value", None) != seq:
        raise Miscounted(f"{turns * entries} events were booked, and {seq} were folded to {state}")
    return {"replay_events_per_s": seq / statistics.median(took for _, _, took in runs)}


def takeover(stage: Stage, seconds: float) -> Figures:
    """From SIGKILL of one pod of two to the first answer of each of its lanes, at default settings."""
    waits: list[float] = []
    for _ in range(3):
        with stage.scene(pods=2) as scene:
            waits += asyncio.run(_kill(scene))
            scene.counted()
    return {"takeover_s": max(waits), "takeover_p50_s": statistics.median(waits)}


def idle_memory(stage: Stage, seconds: float) -> Figures:
    """What actors cost while they are in memory and idle, and once they are passivated."""
    keys = [f"m{number}" for number in range(100_000)]
    with stage.scene(max_activations=10**6) as scene:
        _touch_all(scene, keys[:1000])
        empty = resident_bytes(scene.pods[0].pid)
        _touch_all(scene, keys)
        held = resident_bytes(scene.pods[0].pid)
        scene.end_pods()
        scene.start_pod()
        scene.await_owners()
        _touch_all(scene, keys[:1000])
        passivated = resident_bytes(scene.pods[0].pid)
    return {
        "idle_activation_bytes": (held - empty) / (len(keys) - 1000),
        "passivated_actor_bytes": max(0.0, (passivated - empty) / len(keys)),
    }


MEASUREMENTS: dict[str, Measurement] = {
    "nats": nats_saturated,
    "latency": nats_one_in_flight,
    "hot": hot_key,
    "http": http,
    "cold": cold_activation,
    "replay": replay,
    "takeover": takeover,
    "memory": idle_memory,
}


def _touch_all(scene: Scene, keys: list[str]) -> None:
    async def run() -> None:
        async with await Client.connect(scene.system.nats_url) as client:
            waiting = iter(keys)

            async def one() -> None:
                for key in waiting:
                    await client.ask("counter", key, "add", {"amount": 1}, timeout_s=60)

            await asyncio.gather(*[one() for _ in range(512)])

    before = scene.counted()
    asyncio.run(run())
    scene.check_count(before, len(keys))


async def _book(scene: Scene, turns: int, entries: int) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        for _ in range(turns):
            await client.ask(ledger, "long", "book", {"entries": entries}, timeout_s=60)


async def _kill(scene: Scene) -> list[float]:
    """Kills a pod; gives the seconds until each of its lanes answered again."""
    system, victim = scene.system, scene.pods[0]
    lanes = {row[0] for row in system.sql("SELECT partition FROM partitions WHERE owner = %s", victim.name)}
    keys: dict[int, str] = {}
    for number in range(100_000):
        partition = partition_of("default", "counter", f"t{number}", system.partitions)
        if partition in lanes:
            keys.setdefault(partition, f"t{number}")
        if len(keys) == len(lanes):
            break
    async with await Client.connect(system.nats_url) as client:
        await asyncio.gather(*[client.ask("counter", key, "add", {"amount": 1}) for key in keys.values()])
        await asyncio.to_thread(scene.kill_pod, victim)
        killed = time.perf_counter()

        async def first(key: str) -> float:
            while True:
                try:
                    # The command is stored while nobody owns its lane, and answered by the next owner.
                    await client.ask("counter", key, "add", {"amount": 1}, timeout_s=30)
                    return time.perf_counter() - killed
                except CallFailed as error:
                    if error.code != "timeout":
                        raise

        return list(await asyncio.gather(*[first(key) for key in keys.values()]))

"""Actors whose state takes long to come by: slow folds, small memory, snapshots that cannot be read."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec import Struct

from runtime.entity import Entity, entity
from runtime.host.handling import Running
from runtime.host.plan import Plan
from runtime.host.ports import Found
from runtime.host.works import Works
from runtime.kind import StoredEvent
from schemas.address import Address, actor_id
from tests.host.test_regressions import lane_of
from tests.support.system import System, run, until


class Total(Struct, frozen=True):
    value: int = 0


class Counted(Struct, frozen=True):
    amount: int


def _ledger(name: str, seconds: float, snapshot_every: int = 0) -> Entity[Total]:
    def fold(state: Total, event: Counted) -> Total:
        time.sleep(seconds)
        return Total(state.value + event.amount)

    made: Entity[Total] = entity(name, initial=Total(), apply=fold, snapshot_every=snapshot_every)

    @made.command
    def count(state: Total, times: int) -> list[Counted]:
        return [Counted(1)] * times

    @made.query
    def value(state: Total) -> int:
        return state.value

    return made


quick = _ledger("ledger", 0.0)
slow = _ledger("ledger", 0.001)
"""The same actors, in code whose fold takes a millisecond an event."""

noted = _ledger("ledger", 0.0, snapshot_every=100)

KEYS = [f"k{n}" for n in range(20)]


def logs(system: System, ledger: Entity[Total], keys: list[str], events: int) -> None:
    """Leaves a log of so many events for each key."""

    async def scenario() -> None:
        async with system.pod(ledger), system.client() as client:
            for start in range(0, events, 400):
                times = min(400, events - start)
                await asyncio.gather(*[client.ask(ledger, key, "count", {"times": times}) for key in keys])
            if ledger is noted:
                await until(lambda: system.sql("SELECT count(*) FROM snapshots") == [(len(keys),)])

    run(scenario())


@pytest.mark.parametrize("events", [200, 400], ids=["long-together", "each-long"])
def test_given_many_cold_actors_with_slow_folds_when_they_come_in_one_batch_then_all_get_on(
    system: System, events: int
) -> None:
    logs(system, quick, KEYS, events)

    async def scenario() -> None:
        async with system.client() as client:
            asks = [asyncio.ensure_future(client.ask(slow, key, "count", {"times": 1}, timeout_s=60)) for key in KEYS]
            await asyncio.sleep(0.2)
            # Together they take twice the lease, and an overloaded machine keeps the lease nevertheless.
            async with system.pod(slow, lease_ttl_s=2.0, heartbeat_s=0.5) as pod:
                await asyncio.gather(*asks)
                assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(len(KEYS) * (events + 1),)]
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_actors_that_are_passivated_as_soon_as_they_are_loaded_when_used_then_they_get_on(
    system: System,
) -> None:
    logs(system, quick, KEYS[:3], 400)

    async def scenario() -> None:
        async with system.pod(slow) as pod, system.client() as client:

            async def no_memory() -> None:
                while True:
                    pod.activations.passivate(pod.clock.monotonic(), at_most=0)
                    await asyncio.sleep(0)

            sweeping = asyncio.ensure_future(no_memory())
            for key in KEYS[:3]:
                assert await client.query(slow, key, "value", timeout_s=60) == 400
                await client.ask(slow, key, "count", {"times": 1}, timeout_s=60)
                assert await client.query(slow, key, "value", timeout_s=60) == 401
            sweeping.cancel()
            assert pod.meter.log_losses == 0

    run(scenario())


@pytest.mark.parametrize("events", [300, 900], ids=["within-a-commit", "beside"])
def test_given_a_snapshot_that_cannot_be_read_when_its_actor_is_loaded_then_the_log_is_folded_from_its_start(
    system: System, events: int
) -> None:
    logs(system, noted, ["a"], events)
    system.sql("""UPDATE snapshots SET state = '{"value":null}'""")

    async def scenario() -> None:
        async with system.pod(noted) as pod, system.client() as client:
            await client.ask(noted, "a", "count", {"times": 1})
            assert await client.query(noted, "a", "value") == events + 1
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT count(*), max(seq) FROM events") == [(events + 1, events + 1)]


def test_given_a_read_of_an_actor_being_loaded_when_its_lane_is_lost_then_it_is_asked_for_again(system: System) -> None:
    logs(system, quick, ["a"], 1600)

    async def scenario() -> None:
        async with system.pod(slow) as pod, system.client() as client:
            asking = asyncio.ensure_future(client.query(slow, "a", "value", timeout_s=60))
            await until(lambda: pod.loader._touches)
            for lane in list(pod.lanes.values()):
                pod.lose(lane)
            pod.leases.look_now()
            assert await asking == 1600
            await until(lambda: not pod.loader._touches)

    run(scenario())


def test_given_a_snapshot_written_between_the_two_look_ups_when_an_actor_is_folded_then_it_is_loaded_anew() -> None:
    """One found the snapshot at event 100, the other what is behind a newer one: events between them are missing."""
    actor, address = actor_id("default", "ledger", "a"), Address("default", "ledger", "a")
    tail = [StoredEvent(seq, "Counted", 1, '{"amount":1}') for seq in range(151, 201)]
    for snapshot, loads in ((100, True), (150, False)):
        snapshots = {actor: (snapshot, f'{{"value":{snapshot}}}')}
        found = Found(frozenset({0}), {}, {}, {}, {}, {}, snapshots, {actor: tail}, frozenset(), {})
        works = Works({"ledger": quick}, {}, found, Plan(0.0, time.monotonic), frozenset(), Running())
        work = works.get(lane_of(0), actor, address)
        assert work.loading is loads
        assert loads or (work.seq, work.state) == (200, Total(200))

"""A deleted actor: what the archive holds of it is nobody's, and its new life is folded and archived as any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from runtime.errors import Rejected
from runtime.host.command import Command, to_pending
from runtime.host.items import Order
from runtime.host.plan import Plan
from runtime.host.ports import Found, LogUnavailable, PendingRow
from runtime.host.turns import Turns
from runtime.kind import StoredEvent
from runtime.policy import Retention
from runtime.postgres.segments import PostgresSegments
from schemas.address import Address, actor_id
from tests.host.test_archive import KEYS, LATER, LONG_AGO, count_up
from tests.host.test_regressions import lane_of
from tests.support.archiving import Archive, archive
from tests.support.kinds import counter
from tests.support.system import System, run

GONE = "k3"


async def told(there: Archive) -> tuple[int, list[str]]:
    """How many events of the others the log gives, in both ways of reading, and the types of the deleted one's."""
    whole = await there.log(limit=7)
    by_time = await there.reader.by_time(LONG_AGO, LATER, limit=10_000)
    assert {(one.lane, one.position) for one in whole} == {(one.lane, one.position) for one in by_time}
    return sum(event.key != GONE for event in whole), [event.type for event in whole if event.key == GONE]


def test_given_a_deleted_actor_with_archived_events_then_nobody_is_given_them_and_its_new_life_goes_on(
    system: System, tmp_path: Path
) -> None:
    others = 30 * (len(KEYS) - 1)

    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 30)
            await there.away(counter)
            before = len(there.files)
            deleted = await client.delete(counter, GONE, by="ann", timeout_s=60)
            assert (deleted.seq, deleted.events, deleted.ended) == (31, 5, 0)
            assert [(one.first_seq, one.last_seq) for one in deleted.archived] == [(1, 25)]
            assert await told(there) == (others, ["troupe.deleted"])
            await count_up(client, 10, [GONE])
            system.sql("DELETE FROM snapshots")
            done = await there.away(counter, Retention(keep_events=2, keep_for_s=0.0))
            assert done.refused == 0
            assert len(there.files) > before
            system.sql("DELETE FROM snapshots")

        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            assert await client.query(counter, GONE, "value") == 10, "folded from segments and rows of this life"
            segments = PostgresSegments(system.postgres_url)
            for segment in reversed(await segments.find()):
                await segments.restore(segment)
            await segments.close()
            count, types = await told(there)
            assert (count, types.count("troupe.deleted"), len(types)) == (others, 1, 11)
            again = await client.delete(counter, GONE, timeout_s=60)
            assert (again.seq, again.events) == (42, 11)
            assert await client.query(counter, GONE, "value") == 0

    run(scenario())


class Batch:
    """Items of one batch with what the log has of their actors: a timer's turn, a replay, a deletion."""

    def __init__(self, unfinished: Sequence[PendingRow] = ()) -> None:
        self.lane = lane_of(0)
        self.plan = Plan(1.0, time.monotonic)
        self.unfinished = unfinished

    def order(self, what: Literal["delete", "replay"], key: str, letter: int = 0) -> Order:
        address, actor = Address("t", "counter", key), actor_id("t", "counter", key)
        command = Command(self.lane, address, key, "add", {"Troupe-Id": "parked"}, b'{"amount":5}')
        return Order(self.lane, actor, address, what, "ann", "", asyncio.Future(), letter, command)

    def timer(self, key: str) -> Command:
        fired = Command(self.lane, Address("t", "counter", key), key, "add", {"Troupe-Id": "fire"}, b'{"amount":3}')
        fired.timer = (fired.actor, "later")
        return fired

    def run(self, *items: Order | Command) -> list[object]:
        """What was promised."""
        events = {actor_id("t", "counter", "a"): [StoredEvent(1, "Added", 1, '{"amount":1}')]}
        timers = {(actor_id("t", "counter", "a"), "later"): "fire"}
        found = Found(frozenset({0}), {}, {}, {}, {}, timers, {}, events, frozenset({7}), {}, self.unfinished)
        Turns(
            {"counter": counter}, {}, found, self.plan, isolated=frozenset(), outside=frozenset(),
            principal_of=lambda _: None, random=lambda: 0.5,
        ).run(items)  # fmt: skip
        return [value for _, value in self.plan.promises]


def test_given_a_deletion_when_a_timer_and_a_replay_are_behind_it_in_its_batch_then_the_new_life_has_neither() -> None:
    async def scenario() -> None:
        batch = Batch()
        deleted, refused = batch.run(batch.order("delete", "a"), batch.timer("a"), batch.order("replay", "a", 7))
        assert deleted == {"seq": 2, "ended": 0}
        assert isinstance(refused, LogUnavailable)
        assert [event.type for event in batch.plan.changes.events] == ["troupe.deleted"]
        assert not batch.plan.changes.pending

    run(scenario())


def test_given_nothing_of_an_actor_when_it_is_deleted_beside_one_that_works_then_it_is_refused() -> None:
    async def scenario() -> None:
        batch = Batch()
        works = Command(batch.lane, Address("t", "counter", "b"), "b", "add", {"Troupe-Id": "i"}, b"{}")
        batch.unfinished = [to_pending(works, "waiting", holds=True, attempts=0)]
        batch.lane.held[works.actor] = 1
        (refused,) = batch.run(batch.order("delete", "nobody"))
        assert isinstance(refused, Rejected)
        assert not batch.plan.changes.events

    run(scenario())

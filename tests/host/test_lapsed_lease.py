"""A lease that was over before it was renewed: reads wait until it is certain whose lanes those are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg

from runtime.clock import LogTime, system_clock
from runtime.host.lane import Lane, Mailboxes
from runtime.host.leases import Leases
from runtime.host.ports import Taken
from runtime.host.tasks import Tasks
from runtime.postgres.migrate import migrate
from runtime.postgres.ownership import PostgresOwnership
from tests.support.system import System, run, until

TTL_S = 0.9
GROUP = "default"
ALIVE = "SELECT count(*) FROM pods WHERE id = %s AND expires_at > clock_timestamp()"
OWNED = "SELECT count(*) FROM partitions WHERE owner = %s"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Member:
    """A pod's membership and nothing else of it."""

    def __init__(self, system: System, name: str) -> None:
        self.name = name
        self.ownership = PostgresOwnership(system.postgres_url, name, GROUP, "1", {"counter": '{"methods":[]}'})
        self.mailboxes = Mailboxes()
        self.leases = Leases(
            self.ownership,
            name,
            GROUP,
            LogTime(system_clock),
            ttl_s=TTL_S,
            heartbeat_s=TTL_S / 6,
            balance_s=0.05,
            took=self._took,
            lost=self._lost,
            replaced=lambda: asyncio.sleep(0),
            drain=lambda lane: asyncio.sleep(0),
            released=lambda group: None,
            tasks=Tasks(lambda what, error: None),
        )

    def _took(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            self.leases.lanes[one.lane] = Lane(one, self.name, 0, self.mailboxes)

    def _lost(self, lane: Lane) -> None:
        del self.leases.lanes[lane.lane]

    @asynccontextmanager
    async def at_work(self, *, balancing: bool = True) -> AsyncIterator[None]:
        """Within it heartbeats go on, and lanes are looked at."""
        tasks = [asyncio.ensure_future(self.leases.beat())]
        if balancing:
            tasks.append(asyncio.ensure_future(self.leases.balance()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_given_lanes_that_another_pod_took_when_heartbeats_go_on_first_then_no_read_is_answered_from_memory(
    system: System,
) -> None:
    async def scenario() -> None:
        await migrate(system.postgres_url)
        first, second = Member(system, "first"), Member(system, "second")
        await first.ownership.register(system.partitions)
        async with first.at_work():
            await until(lambda: len(first.leases.lanes) == system.partitions and first.leases.certain())
        # It stands still, as if it were frozen.
        await until(lambda: system.sql(ALIVE, "first") == [(0,)])
        async with second.at_work():
            await until(lambda: system.sql(OWNED, "second") == [(system.partitions,)])
        async with first.at_work(balancing=False):
            await until(lambda: system.sql(ALIVE, "first") == [(1,)])
            await asyncio.sleep(TTL_S / 2)  # further heartbeats change nothing
            assert len(first.leases.lanes) == system.partitions, "it has not looked at its lanes yet"
            assert not first.leases.valid()
            assert not first.leases.certain()
        async with first.at_work():
            await until(first.leases.valid)
            owned = {(lane.lane, lane.epoch) for lane in first.leases.lanes.values()}
            rows = system.sql("SELECT lane, epoch FROM partitions WHERE owner = 'first'")
            assert owned <= set(map(tuple, rows))
        for member in (first, second):
            await member.ownership.close()

    run(scenario())


def test_given_a_lease_that_was_over_and_nobody_took_anything_when_it_is_renewed_then_the_lanes_stay(
    system: System,
) -> None:
    async def scenario() -> None:
        await migrate(system.postgres_url)
        member = Member(system, "first")
        await member.ownership.register(system.partitions)
        async with member.at_work():
            await until(lambda: len(member.leases.lanes) == system.partitions and member.leases.valid())
        before = dict(member.leases.lanes)
        await until(lambda: not member.leases.certain())
        await until(lambda: not member.leases.valid())
        async with member.at_work():
            await until(member.leases.valid)
            assert member.leases.lanes == before
        await member.ownership.close()

    run(scenario())


def test_given_a_lane_that_is_just_being_taken_when_its_owner_asks_then_it_waits_for_the_outcome(
    system: System,
) -> None:
    async def scenario() -> None:
        await migrate(system.postgres_url)
        member = Member(system, "first")
        await member.ownership.register(system.partitions)
        async with member.at_work():
            await until(lambda: len(member.leases.lanes) == system.partitions)
        before = await member.ownership.confirm()
        with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as taker:
            lane = min(before)
            taker.execute("UPDATE partitions SET owner = 'second', epoch = epoch + 1 WHERE lane = %s", [lane])
            asking = asyncio.ensure_future(member.ownership.confirm())
            await until(lambda: system.sql(WAITING) == [(1,)])
            assert not asking.done()
            taker.commit()
        assert await asking == {number: epoch for number, epoch in before.items() if number != lane}
        await member.ownership.close()

    run(scenario())

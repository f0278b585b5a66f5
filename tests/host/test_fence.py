"""The first statement of every commit: what holds no more is not written, and what was written before is seen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from runtime.host.ports import Changes, Fence, LogUnavailable, Wanted
from runtime.jetstream.reader import message_time
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.connection import COMMIT_SETTINGS
from runtime.postgres.ownership import PostgresOwnership
from schemas.address import actor_id, partition_of
from tests.host.test_frozen import FREEZING, stands_still
from tests.host.test_log import owned
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

SEARCH_PATH = "-c search_path=troupe"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
VALUES = "SELECT key, payload->>'amount' FROM log ORDER BY key, seq"
WRITTEN_BY_ANOTHER = """
    INSERT INTO events (actor, seq, lane, position, partition, version, epoch, tenant, type, command_id, payload)
    SELECT actor, seq + 1, lane, position + 1, partition, version, epoch, tenant, type, 'other', '{"amount":10}'
    FROM events
"""
ANSWERED = """
    INSERT INTO inbox (actor, command_id, seq, lane, digest, failed, result) VALUES (%s, 'one', 1, 0, 7, false, '1')
"""


def test_given_a_batch_of_two_lanes_when_one_was_taken_away_then_only_the_turns_of_that_one_are_dropped(
    system: System,
) -> None:
    """The pod does not look at its lanes meanwhile, and nobody else has written to the actor: the fence alone tells."""
    number = {key: partition_of("default", "counter", key, system.partitions) for key in map(str, range(20))}
    kept = "0"
    taken = next(key for key in number if number[key] != number[kept])

    async def scenario() -> None:
        async with system.pod(counter, lease_ttl_s=20.0) as pod, system.client() as client:
            pod.leases._balance_s = 60.0
            pod.leases.look_now()
            for key in (kept, taken):
                assert await client.ask(counter, key, Add(1)) == 1
            with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
                other.execute("SELECT FROM partitions FOR UPDATE")
                await client.tell(counter, kept, Add(1))
                await until(lambda: system.sql(WAITING) == [(1,)])
                dropped = asyncio.ensure_future(client.ask(counter, taken, Add(1), id="dropped", timeout_s=60))
                await client.tell(counter, kept, Add(1))
                await until(lambda: len(pod.committer) == 2)
                other.execute(
                    "UPDATE partitions SET owner = 'other', epoch = epoch + 1 WHERE partition = %s", [number[taken]]
                )
            await until(lambda: len(system.sql(VALUES)) > 3)
            assert system.sql(VALUES) == [*[(kept, "1")] * 3, (taken, "1")]
            assert system.sql("SELECT count(*) FROM inbox WHERE command_id = 'dropped'") == [(0,)]
            assert pod.meter.fenced == 1
            assert number[taken] not in [lane.partition for lane in pod.lanes.values()], "it was given up"
            system.sql("UPDATE partitions SET owner = NULL WHERE owner = 'other'")
            pod.leases.look_now()
            assert await dropped == 2

    run(scenario())


def test_given_events_that_memory_knows_nothing_of_when_committing_then_all_is_read_again_and_nobody_is_parked(
    system: System,
) -> None:
    """The second defence: a sequence of an actor is given once, whatever a pod believes of itself."""

    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            system.sql(WRITTEN_BY_ANOTHER)
            await client.tell(counter, "a", Add(100))
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(3,)])
            assert await client.query(counter, "a", "value") == 111
            assert pod.meter.log_losses == 1

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


LANES = pytest.mark.parametrize("lanes", [(0,), (0, 1)], ids=["one", "many"])
"""A lone command's batch, and one of many."""


@LANES
def test_given_checkpoints_when_fenced_and_committed_then_they_and_their_times_are_those_given_up_or_down(
    system: System, lanes: tuple[int, ...]
) -> None:
    async def scenario() -> None:
        await owned(system, *lanes)
        log = PostgresCommitLog(system.postgres_url, "me", "v", 20.0)
        for checkpoint, at in ((10, 100), (5, 50)):
            fences = [Fence(lane, 1, checkpoint, at, 0) for lane in lanes]
            assert (await log.begin(Wanted(fences))).lanes == {*lanes}
            await log.commit(Changes())
            assert system.sql("SELECT checkpoint, checkpoint_at FROM partitions") == [(checkpoint, at)] * len(lanes)
        await log.close()

    run(scenario())


@LANES
@pytest.mark.parametrize("changed", ["epoch = 2", "owner = 'other'"], ids=["epoch", "owner"])
def test_given_a_lane_of_another_epoch_or_owner_when_fenced_then_it_alone_is_left_out_and_nothing_of_it_moves(
    system: System, lanes: tuple[int, ...], changed: str
) -> None:
    async def scenario() -> None:
        await owned(system, *lanes)
        system.sql(f"UPDATE partitions SET {changed} WHERE lane = 0")
        log = PostgresCommitLog(system.postgres_url, "me", "v", 20.0)
        found = await log.begin(Wanted([Fence(lane, 1, 7, 1, 0) for lane in lanes]))
        await log.commit(Changes())
        await log.close()
        assert found.lanes == {*lanes} - {0}
        assert system.sql("SELECT lane, checkpoint FROM partitions ORDER BY lane") == [(0, 0), (1, 7)][: len(lanes)]

    run(scenario())


@pytest.mark.parametrize("keys", [("b",), ("a", "b")], ids=["one", "many"])
def test_given_an_id_that_another_actor_has_used_when_looked_up_then_only_its_own_is_found(
    system: System, keys: tuple[str, ...]
) -> None:
    actors = {key: actor_id("default", "counter", key) for key in ("a", "b")}

    async def scenario() -> None:
        await owned(system, 0)
        system.sql(ANSWERED, actors["a"])
        log = PostgresCommitLog(system.postgres_url, "me", "v", 20.0)
        asked = [(actors[key], "one") for key in keys]
        found = await log.begin(Wanted([Fence(0, 1, 1, 1, 0)], commands=asked))
        await log.rollback()
        await log.close()
        assert list(found.inbox) == [(actors["a"], "one")][: len(keys) - 1]

    run(scenario())


def test_given_a_lane_that_somebody_still_writes_to_when_a_batch_begins_then_it_sees_what_was_written(
    system: System,
) -> None:
    actor = actor_id("default", "counter", "a")

    async def scenario() -> None:
        await owned(system, 0)
        log = PostgresCommitLog(system.postgres_url, "me", "v", 20.0)
        with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
            other.execute("SELECT FROM partitions FOR UPDATE")
            beginning = asyncio.ensure_future(log.begin(Wanted([Fence(0, 1, 1, 1, 0)], commands=[(actor, "one")])))
            await until(lambda: system.sql(WAITING) == [(1,)])
            other.execute(ANSWERED, [actor])
        found = await beginning
        await log.rollback()
        await log.close()
        assert list(found.inbox) == [(actor, "one")]

    run(scenario())


def test_given_a_log_that_does_not_commit_when_a_command_is_asked_then_nobody_is_answered_before(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, lease_ttl_s=20.0), system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
                other.execute("LOCK TABLE events IN SHARE MODE")
                asked = asyncio.ensure_future(client.ask(counter, "a", Add(1), timeout_s=60))
                await until(lambda: system.sql(WAITING) == [(1,)])
                assert await client.query(counter, "a", "value") == 1, "reads see what is committed"
                assert not asked.done()
            assert await asked == 2

    run(scenario())


def test_given_a_command_when_it_is_committed_then_the_checkpoint_is_its_place_in_the_stream(system: System) -> None:
    partition = partition_of("default", "counter", "a", system.partitions)

    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            for place in (1, 2):
                assert await client.ask(counter, "a", Add(1)) == place
                at = await message_time(pod.connection, place)
                kept = "SELECT checkpoint, checkpoint_at FROM partitions WHERE partition = %s"
                assert system.sql(kept, partition) == [(place, at)]

    run(scenario())


def test_given_a_pod_killed_between_fence_and_commit_when_another_takes_over_then_its_command_is_not_lost(
    system: System, tmp_path: Path
) -> None:
    """Told, not asked: nobody sends it again."""
    first = system.start_pod(FREEZING)
    mark = tmp_path / "frozen"

    async def scenario() -> None:
        async with system.client() as client:
            await client.tell("freezer", "a", "freeze", {"mark": str(mark)})
            await until(mark.exists)
            await until(lambda: stands_still(first.pid))
            first.kill()
            await asyncio.to_thread(system.start_pod, FREEZING)
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(1,)])

    run(scenario())


def test_given_a_lane_that_is_being_committed_when_lanes_are_taken_then_the_others_are_not_waited_for(
    system: System,
) -> None:
    async def scenario() -> set[int]:
        await owned(system, 0, 1)
        ownership = PostgresOwnership(system.postgres_url, "me", "default", "v", {})
        with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
            other.execute("UPDATE partitions SET checkpoint = 1 WHERE lane = 0")
            try:
                taken = {one.lane for one in await ownership.take([0, 1])}
            except LogUnavailable as error:
                raise AssertionError("it waited for the lane that is being committed") from error
        await ownership.close()
        return taken

    assert run(scenario()) == {1}


def test_given_a_commit_connection_then_its_plans_are_made_once_and_for_all(system: System) -> None:
    """Ten batches: by then a server that may choose has made plans for single ones."""

    async def scenario() -> None:
        await owned(system, 0)
        log = PostgresCommitLog(system.postgres_url, "me", "v", 20.0)
        for number in range(10):
            await log.begin(Wanted([Fence(0, 1, number, 1, 0)], commands=[("0" * 32, "one")]))
            await log.rollback()
        connection = log._connection
        assert connection is not None
        connection.pgconn.exit_pipeline_mode()
        cursor = await connection.execute("SELECT name, generic_plans, custom_plans FROM pg_prepared_statements")
        plans = {name: counts for name, *counts in await cursor.fetchall()}
        for name, wanted in COMMIT_SETTINGS.items():
            found = await (await connection.execute("SELECT current_setting(%s)", [name])).fetchone()
            assert found == (wanted,), name
        await log.close()
        assert plans["fence"] == plans["find_inbox"] == [10, 0]

    run(scenario())

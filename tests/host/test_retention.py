"""The log is ready for retention and archiving by actor: one actor's rows, or a share of all, may leave it."""

from __future__ import annotations

import asyncio

from runtime.postgres.reading import PostgresReader
from schemas.address import actor_id, partition_of
from schemas.wire import LogEvent
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

OF_AN_ACTOR = (
    "events", "inbox", "refused", "pending", "paused", "snapshots", "timers", "dead_letters", "actors", "archived",
    "segment_actors",
)  # fmt: skip

RETIRE = [
    # The lane's row is what every commit of the lane locks. Its position is made exact first, since the events are what
    # says it otherwise, and its epoch raised: who holds the actor in memory is fenced, and reads it anew.
    """UPDATE partitions SET epoch = epoch + 1, owner = NULL,
           position = greatest(position, (SELECT max(e.position) FROM events e
                                          WHERE e.lane = partitions.lane AND e.partition = partitions.partition))
       WHERE lane = '{lane}'""",
    *[f"DELETE FROM {table} WHERE actor = '{{actor}}'" for table in OF_AN_ACTOR],
]


def retire(system: System, key: str) -> None:
    """Deletes everything of counter/`key`, in one transaction, while pods live."""
    lane = partition_of("default", "counter", key, system.partitions)
    actor = actor_id("default", "counter", key)
    system.sql(";".join(RETIRE).format(lane=lane, actor=actor))


async def read_on(reader: PostgresReader, vector: dict[int, int]) -> tuple[list[LogEvent], dict[int, int]]:
    """Everything beyond a vector, in small pages."""
    events: list[LogEvent] = []
    while True:
        page, vector = await reader.after(vector, limit=7)
        if not page:
            return events, vector
        events += page


def test_given_one_actor_deleted_while_pods_live_when_the_log_is_read_by_vector_then_nothing_else_is_missed(
    system: System,
) -> None:
    async def scenario() -> None:
        reader = PostgresReader(system.postgres_url, system.partitions)
        async with system.pod(counter), system.client() as client:
            for _ in range(3):
                await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(40)])
            half, vector = await reader.after({}, limit=60)
            retire(system, "k7")
            rest, vector = await read_on(reader, vector)
            seen = [(event.key, event.seq) for event in half + rest if event.key != "k7"]
            assert sorted(seen) == sorted((f"k{n}", seq) for n in range(40) if n != 7 for seq in (1, 2, 3))
            # The others count on, the deleted one begins anew, and every later event lies beyond the reader's place.
            answers = await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1), timeout_s=30) for n in range(40)])
            assert list(answers) == [1 if n == 7 else 4 for n in range(40)]
            later, _ = await read_on(reader, vector)
            assert sorted((event.key, event.seq) for event in later) == sorted(
                (f"k{n}", 1 if n == 7 else 4) for n in range(40)
            )
        await reader.close()

    run(scenario())


def test_given_the_last_events_of_a_lane_deleted_when_new_ones_come_then_no_position_is_given_again(
    system: System,
) -> None:
    async def scenario() -> None:
        reader = PostgresReader(system.postgres_url, system.partitions)
        lane = partition_of("default", "counter", "only", system.partitions)
        async with system.pod(counter), system.client() as client:
            for _ in range(5):
                await client.ask(counter, "only", Add(1))
            _, vector = await read_on(reader, {})
            assert vector[lane] == 5
            retire(system, "only")
            assert await read_on(reader, vector) == ([], vector)
        async with system.pod(counter), system.client() as client:  # taken anew, with nothing but its row to go by
            assert await client.ask(counter, "only", Add(1)) == 1
            events, _ = await read_on(reader, vector)
            assert [(event.key, event.position) for event in events] == [("only", 6)]
        await reader.close()

    run(scenario())


def test_given_one_actor_when_exported_and_deleted_then_what_was_exported_is_all_that_it_had(system: System) -> None:
    async def scenario() -> None:
        reader = PostgresReader(system.postgres_url, system.partitions)
        lane = partition_of("default", "counter", "a", system.partitions)
        actor = actor_id("default", "counter", "a")
        async with system.pod(counter), system.client() as client:
            for n in range(60):  # beyond a snapshot
                await client.ask(counter, "a", Add(n))
            await client.ask(counter, "a", "add_later", {"amount": 1, "after_s": 3600.0})
            await until(lambda: system.sql("SELECT count(*) FROM snapshots") == [(1,)])
            events = await reader.actor(actor, lane)
            assert [event.seq for event in events] == list(range(1, 61))
            about = await reader.describe(actor)
            assert about["snapshot"]["seq"] >= 50
            assert [timer["method"] for timer in about["timers"]] == ["add"]
            retire(system, "a")
        await reader.close()

    run(scenario())
    for table in OF_AN_ACTOR:
        assert system.sql(f"SELECT count(*) FROM {table}") == [(0,)], table


def test_given_a_share_of_the_events_detached_when_the_rest_is_read_then_it_is_whole_and_comes_back_when_attached(
    system: System,
) -> None:
    async def scenario() -> None:
        reader = PostgresReader(system.postgres_url, system.partitions)
        async with system.pod(counter), system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(60)])
        whole, _ = await read_on(reader, {})
        assert len(whole) == 60
        ((share,),) = system.sql("SELECT tableoid::regclass::text FROM events GROUP BY 1 ORDER BY count(*) LIMIT 1")
        gone = {row[0] for row in system.sql(f"SELECT a.key FROM {share} e JOIN actors a USING (actor)")}
        system.sql(f"ALTER TABLE events DETACH PARTITION {share}")
        left, _ = await read_on(reader, {})
        assert gone
        assert {event.key for event in left} == {event.key for event in whole} - gone
        remainder = int(share.rpartition("_")[2])
        system.sql(f"ALTER TABLE events ATTACH PARTITION {share} FOR VALUES WITH (MODULUS 8, REMAINDER {remainder})")
        assert await read_on(reader, {}) == (whole, await reader.positions())
        await reader.close()

    run(scenario())

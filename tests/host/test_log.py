"""The log: reading it, folding it, and what happens when it cannot be read."""

from __future__ import annotations

import asyncio
import datetime
import json
from pathlib import Path

import psycopg
import pytest

from runtime.entity import entity
from runtime.errors import CallFailed, Misconfigured
from runtime.host.ports import ActorRow, Changes, EventRow, Fence, InboxRow, Wanted
from runtime.postgres import migrate as migrations
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.reading import PostgresReader
from schemas.address import actor_id, partition_of
from tests.support.kinds import Add, Added, Counter, apply, counter
from tests.support.system import System, run, until


def event(actor: str, seq: int, lane: int, position: int, epoch: int = 1) -> EventRow:
    return EventRow(
        actor,
        seq,
        lane,
        position,
        lane,
        1,
        epoch,
        "default",
        "Added",
        f"c{seq}",
        None,
        None,
        None,
        None,
        '{"amount":1}',
    )


async def owned(system: System, *lanes: int) -> None:
    """A migrated log whose lanes belong to pod 'me'."""
    await migrations.migrate(system.postgres_url)
    system.sql("INSERT INTO groups (name) VALUES ('default')")
    for lane in lanes:
        system.sql(
            "INSERT INTO partitions (lane, group_name, partition, owner, epoch) VALUES (%s, 'default', %s, 'me', 1)",
            lane,
            lane,
        )


def test_given_a_late_commit_when_the_whole_log_is_read_by_vector_then_it_is_never_skipped(system: System) -> None:
    """Lane 1 commits while lane 0, whose position was given out before, still has not: DESIGN decision 10."""
    one, two = actor_id("default", "counter", "one"), actor_id("default", "counter", "two")

    async def write(log: PostgresCommitLog, lane: int, actor: str, key: str) -> Changes:
        await log.begin(Wanted([Fence(lane, 1, 1, 1, 0)]))
        changes = Changes()
        changes.actors.append(ActorRow(actor, "default", "counter", key, lane, lane))
        changes.events.append(event(actor, 1, lane, 1))
        return changes

    async def scenario() -> None:
        await owned(system, 0, 1)
        slow, fast = (PostgresCommitLog(system.postgres_url, "me", "v", 5.0) for _ in range(2))
        reader = PostgresReader(system.postgres_url, system.partitions)
        late = await write(slow, 0, one, "one")
        await fast.commit(await write(fast, 1, two, "two"))
        seen, vector = await reader.after({})
        assert [found.key for found in seen] == ["two"]
        await slow.commit(late)
        seen, vector = await reader.after(vector)
        assert [found.key for found in seen] == ["one"]
        assert vector == {0: 1, 1: 1}
        assert await reader.after(vector) == ([], vector)
        for closing in (slow, fast, reader):
            await closing.close()

    run(scenario())


def test_given_columns_of_nothing_when_written_together_then_they_are_as_one_by_one(system: System) -> None:
    """A column without any value is sent as an empty array, which the server fills up beside the others."""
    texts = ("plain", 'quotes "and" \\ and {braces}, NULL', "")
    actors = [actor_id("default", "counter", key) for key in "abcdef"]

    def rows(number: int) -> Changes:
        changes, actor, text = Changes(), actors[number], texts[number % 3]
        told = event(actor, 1, 0, 1 + number)._replace(session=text or None, correlation_id="c", principal=text)
        changes.events.append(told._replace(payload=json.dumps(text)))
        changes.inbox.append(InboxRow(actor, f"id {text}", 1, 0, -5, number % 2 == 0, json.dumps(text)))
        return changes

    async def scenario() -> None:
        await owned(system, 0)
        log = PostgresCommitLog(system.postgres_url, "me", "v", 5.0)
        together = Changes()
        for number in range(3):
            await log.begin(Wanted([Fence(0, 1, number, 1, 0)]))
            await log.commit(rows(number))
            together.events += rows(number + 3).events
            together.inbox += [row._replace(failed=not row.failed) for row in rows(number + 3).inbox]
        await log.begin(Wanted([Fence(0, 1, 3, 1, 0)]))
        await log.commit(together)
        assert system.sql("SELECT checkpoint FROM partitions") == [(3,)]
        some = "type, version, session, causation_id, correlation_id, principal, payload::text, code_version, epoch"
        for columns in (f"{some} FROM events", "command_id, seq, lane, digest, failed, result FROM inbox"):
            written = [
                system.sql(f"SELECT {columns} WHERE actor = ANY(%s::uuid[]) ORDER BY actor", one)
                for one in ([actors[n]] for n in range(6))
            ]
            assert written[:3] == written[3:]
            assert all(written)
        await log.close()

    run(scenario())


def test_given_an_older_epoch_when_it_commits_then_the_fence_keeps_it_out(system: System) -> None:
    async def scenario() -> None:
        await owned(system, 0)
        log = PostgresCommitLog(system.postgres_url, "me", "v", 5.0)
        assert (await log.begin(Wanted([Fence(0, 1, 1, 1, 0)]))).lanes == {0}
        await log.rollback()
        system.sql("UPDATE partitions SET epoch = 2")
        assert (await log.begin(Wanted([Fence(0, 1, 1, 1, 0)]))).lanes == frozenset()
        await log.rollback()
        system.sql("UPDATE partitions SET epoch = 1, owner = 'other'")
        assert (await log.begin(Wanted([Fence(0, 1, 1, 1, 0)]))).lanes == frozenset()
        await log.rollback()
        await log.close()

    run(scenario())


def test_given_events_when_read_by_sequence_and_by_time_then_exactly_those_come(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            for n in range(10):
                await client.ask(counter, "a", Add(n))
            reader = PostgresReader(system.postgres_url, system.partitions)
            actor = actor_id("default", "counter", "a")
            lane = partition_of("default", "counter", "a", system.partitions)
            all_events = await reader.actor(actor, lane)
            assert [found.seq for found in all_events] == list(range(1, 11))
            assert bytes(all_events[3].payload) == b'{"amount":3}'
            assert [found.seq for found in await reader.actor(actor, lane, from_seq=8)] == [8, 9, 10]
            middle = datetime.datetime.fromisoformat(all_events[4].at.replace("Z", "+00:00"))
            until_then = await reader.actor(actor, lane, until=middle)
            assert [found.seq for found in until_then] == [1, 2, 3, 4, 5]
            since = await reader.by_time(middle, datetime.datetime.now(datetime.UTC), tenant="default")
            assert [found.seq for found in since] == [5, 6, 7, 8, 9, 10]
            await reader.close()

    run(scenario())


def test_given_an_event_of_an_unknown_type_when_loaded_then_only_that_actor_stops_and_nothing_is_lost(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await client.ask(counter, "bad", Add(1))
            await client.ask(counter, "good", Add(1))
        system.sql("UPDATE events SET type = 'Martian' WHERE actor = %s", actor_id("default", "counter", "bad"))
        async with system.pod(counter), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(counter, "bad", Add(5), id="kept")
            assert caught.value.code == "unreadable_log"
            assert "Martian" in str(caught.value) and "default/counter/bad" in str(caught.value)
            assert await client.ask(counter, "good", Add(1)) == 2
            with pytest.raises(CallFailed):
                await client.query(counter, "bad", "value")
        # The code that knows the event is deployed: the command that was kept is replayed.
        system.sql("UPDATE events SET type = 'Added' WHERE type = 'Martian'")
        async with system.pod(counter), system.client() as client:
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            await client.query(counter, "bad", "$order", {"what": "replay", "dead_letter": letter})

            async def counted() -> bool:
                return bool(await client.query(counter, "bad", "value") == 6)

            await until(counted)

    run(scenario())


def test_given_a_long_log_without_a_snapshot_when_activated_then_it_is_loaded_beside_the_turns(system: System) -> None:
    plain = entity("plain", initial=Counter(), apply=apply, snapshot_every=0)

    @plain.command
    def add(state: Counter, command: Add) -> Added:
        return Added(command.amount)

    @plain.query
    def value(state: Counter) -> int:
        return state.value

    async def scenario() -> None:
        async with system.pod(plain), system.client() as client:
            await asyncio.gather(*[client.ask("plain", "long", "add", {"amount": 1}) for _ in range(1500)])
        async with system.pod(plain) as pod, system.client() as client:
            asked = [client.ask("plain", "long", "add", {"amount": 1}, timeout_s=30) for _ in range(10)]
            await asyncio.gather(*asked)
            assert await client.query("plain", "long", "value") == 1510
            assert len(pod.activations) == 1

    run(scenario())
    assert system.sql("SELECT count(*), max(seq) FROM events") == [(1510, 1510)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_snapshots_when_activated_then_only_the_tail_is_folded_and_another_fold_folds_again(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            for _ in range(120):
                await client.ask(counter, "a", Add(1))
            await until(lambda: system.sql("SELECT seq >= 100 FROM snapshots") == [(True,)])
        # A snapshot that lies shows that it is used ...
        system.sql("""UPDATE snapshots SET state = '{"value":1000,"events":0}'""")
        ((saved,),) = system.sql("SELECT seq FROM snapshots")
        async with system.pod(counter), system.client() as client:
            assert await client.query(counter, "a", "value") == 1000 + 120 - saved
        # ... and not by a fold of another version, also when nothing stands behind it.
        system.sql("UPDATE snapshots SET seq = 120")
        again = entity("counter", initial=Counter(), apply=apply, version="another")

        @again.query
        def value(state: Counter) -> int:
            return state.value

        async with system.pod(again), system.client() as client:
            assert await client.query(again, "a", "value") == 120

    run(scenario())


def test_given_snapshots_that_cannot_be_written_when_they_are_due_then_no_commit_waits_for_them(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await client.ask(counter, "a", Add(1))
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as other:
                other.execute("LOCK TABLE snapshots")
                assert [await client.ask(counter, "a", Add(1)) for _ in range(120)] == list(range(2, 122))
                assert system.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") > [(0,)], "one is to be written"
            await until(lambda: system.sql("SELECT seq >= 100 FROM snapshots") == [(True,)])

    run(scenario())


def test_given_idle_actors_when_passivated_then_their_state_comes_back_from_the_log(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, idle_s=0.2) as pod, system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(n)) for n in range(100)])
            await until(lambda: len(pod.activations) == 0)
            assert pod.activations.passivated >= 100
            answers = await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(100)])
            assert list(answers) == [n + 1 for n in range(100)]

    run(scenario())


def test_given_a_limit_of_activations_when_more_are_used_then_the_oldest_go_but_none_with_held_work(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"

    async def scenario() -> None:
        async with system.pod(max_activations=10) as pod, system.client() as client:
            held = {"item": "x", "quantity": 1, "path": str(path)}
            slow = asyncio.ensure_future(client.ask("cart", "held", "put_slowly", held, timeout_s=120))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(n)) for n in range(100)])
            await until(lambda: len(pod.activations) <= 11)
            assert pod.activations.get(actor_id("default", "cart", "held")) is not None
            path.touch()
            assert await slow == 1

    run(scenario())


def test_given_readers_when_their_tenant_is_set_then_they_see_its_rows_and_no_others(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter):
            for tenant in ("acme", "umbrella"):
                async with system.client(tenant) as client:
                    await client.ask(counter, "same-key", Add(len(tenant)))
        reader = PostgresReader(system.postgres_url, system.partitions, role="troupe_reader", tenant="acme")
        lane = partition_of("acme", "counter", "same-key", system.partitions)
        assert len(await reader.actor(actor_id("acme", "counter", "same-key"), lane)) == 1
        lane = partition_of("umbrella", "counter", "same-key", system.partitions)
        assert await reader.actor(actor_id("umbrella", "counter", "same-key"), lane) == []
        await reader.close()

    run(scenario())
    with psycopg.connect(system.postgres_url, options="-c search_path=troupe -c role=troupe_reader") as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchall() == [(0,)], "no tenant, no rows"
        connection.execute("SET LOCAL troupe.tenant = 'umbrella'")
        assert connection.execute("SELECT DISTINCT tenant FROM log").fetchall() == [("umbrella",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM inbox")


def test_given_many_pods_when_they_migrate_at_once_then_each_migration_is_applied_once(new_system: System) -> None:
    async def scenario() -> list[list[str]]:
        return await asyncio.gather(*[migrations.migrate(new_system.postgres_url) for _ in range(6)])

    applied = [name for names in run(scenario()) for name in names]
    assert applied == [f"{one.number:04d}_{one.name}" for one in migrations.migrations()]


def test_given_a_changed_migration_when_migrating_then_the_error_names_it(system: System) -> None:
    async def scenario() -> None:
        await migrations.migrate(system.postgres_url)
        system.sql("UPDATE migrations SET checksum = 'other' WHERE number = 1")
        with pytest.raises(Misconfigured) as caught:
            await migrations.migrate(system.postgres_url)
        assert "0001_log was changed" in str(caught.value)

    run(scenario())

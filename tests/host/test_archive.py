"""Old events lie in segments, and nobody who reads the log can tell: not a pod, not a projection, not a person."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.archive.files import FileStore
from runtime.client import Client
from runtime.entity import entity
from runtime.errors import CallFailed, UnreadableSegment
from runtime.host import archiver
from runtime.policy import Retention
from runtime.postgres.reading import PostgresReader
from runtime.postgres.segments import PostgresSegments
from schemas.address import actor_id, partition_of
from schemas.segment import decode_segment
from schemas.wire import LogEvent
from tests.support import kinds
from tests.support.archiving import ALL_BUT_FIVE, archive
from tests.support.kinds import Add, cart, counter
from tests.support.system import PARTITIONS, System, run, until

KEYS = [f"k{n}" for n in range(12)]
LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


def actor_of(key: str) -> tuple[str, int]:
    """(id, partition) of counter/`key`."""
    return actor_id("default", "counter", key), partition_of("default", "counter", key, PARTITIONS)


async def count_up(client: Client, times: int, keys: list[str] = KEYS) -> None:
    """Adds one to each key, so many times; every answer is the count so far."""
    for _ in range(times):
        await asyncio.gather(*[client.ask(counter, key, Add(1), timeout_s=60) for key in keys])


def exactly_once(events: list[LogEvent]) -> None:
    """Each actor's events in their order, without gap or double."""
    last: Counter[str] = Counter()
    for event in events:
        last[f"{event.kind}/{event.key}"] += 1
        assert event.seq == last[f"{event.kind}/{event.key}"], (event, last)


def test_given_old_events_archived_when_the_log_is_read_in_each_way_then_it_is_what_it_was(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, cart), system.client() as client:
            await count_up(client, 30)
            await client.ask(cart, "basket", "put", {"item": 'a "quoted" \\ µ', "quantity": 2})

        async with archive(system, tmp_path) as there:
            actor, lane = actor_of("k3")

            async def everything() -> list[list[LogEvent]]:
                exactly_once(whole := await there.log(limit=7))
                one = await there.reader.actor(actor, lane)
                third = datetime.datetime.fromisoformat(one[2].at)
                return [
                    whole,
                    one,
                    await there.reader.actor(actor, lane, from_seq=11, limit=9),
                    await there.reader.actor(actor, lane, until=third),
                    await there.reader.by_time(LONG_AGO, LATER, limit=10_000),
                    await there.reader.by_time(LONG_AGO, LATER, kind="counter", limit=100),
                    await there.reader.by_time(third, LATER, tenant="default", limit=50),
                    (await there.reader.after({0: 5, 3: 7}, limit=50, kind="counter", since=third))[0],
                ]

            before, rows = await everything(), there.rows
            done = await there.away(counter)
            assert (done.refused, done.busy) == (0, 0)
            assert (done.events, done.actors) == (25 * len(KEYS), len(KEYS))
            assert there.rows == rows - done.events
            assert await everything() == before
            # What could be archived is: nothing more.
            assert (await there.away(counter)).segments == 0

    run(scenario())


def test_given_archived_events_when_the_lanes_are_read_on_from_any_place_then_nothing_is_missed_or_doubled(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 10)
            await count_up(client, 5, KEYS[:6])
            half, vector = await there.reader.after({}, limit=50)
            await there.away(counter, Retention(keep_events=8, keep_for_s=0.0))
            await count_up(client, 10)
            # Of the others it takes events from before those of the first six that are archived: positions overlap.
            await there.away(counter, Retention(keep_events=4, keep_for_s=0.0))
            rest = []
            while page := (await there.reader.after(vector, limit=11))[0]:
                vector = (await there.reader.after(vector, limit=11))[1]
                rest += page
            exactly_once(sorted(half + rest, key=lambda event: event.seq))
            assert len(half + rest) == 20 * len(KEYS) + 5 * 6
            assert system.sql("SELECT count(*) > 8 FROM segments") == [(True,)]
            # So few at a time that one segment alone would do, and the next one begins before it ends.
            exactly_once(few := await there.log(limit=3))
            assert len(few) == 20 * len(KEYS) + 5 * 6

    run(scenario())


@pytest.mark.parametrize(
    "lost",
    ["DELETE FROM snapshots", "UPDATE snapshots SET fold_version = 'other'", "UPDATE snapshots SET state = '[]'"],
    ids=["removed", "of-another-fold", "unreadable"],
)
def test_given_archived_events_when_a_snapshot_is_of_no_use_then_its_actor_is_folded_from_segments_and_rows(
    system: System, tmp_path: Path, lost: str
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 40)
            async with archive(system, tmp_path) as there:
                await there.away(counter)
            assert system.sql("SELECT count(*) FROM events") == [(5 * len(KEYS),)]
            system.sql(lost)
        async with system.pod(counter), system.client() as client:
            values = await asyncio.gather(*[client.query(counter, key, "value", timeout_s=30) for key in KEYS])
            assert values == [40] * len(KEYS)
            assert await client.ask(counter, "k0", Add(1)) == 41

    run(scenario())


def test_given_archived_events_when_any_past_position_is_asked_for_then_its_state_is_the_fold_up_to_there(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            for amount in range(1, 31):
                await client.ask(counter, "k0", Add(amount))
            await there.away(counter)
            actor, partition = actor_of("k0")
            state, seen = counter.initial(), 0
            async for page in there.reader.stored(actor, partition, 0):
                for event in page:
                    state, seen = counter.fold(state, [event]), seen + 1
                    assert (event.seq, state.value) == (seen, seen * (seen + 1) // 2)
            assert seen == 30

    run(scenario())


def test_given_archived_events_when_a_projection_is_dropped_then_it_is_rebuilt_from_the_start(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 20)
            await there.away(counter)
            system.sql("CREATE TABLE totals (key text PRIMARY KEY, total int)")
            await count_up(client, 3)
            for _ in range(2):
                system.sql("TRUNCATE totals")
                for event in await there.log(limit=100):
                    amount = json.loads(bytes(event.payload))["amount"]
                    system.sql(
                        "INSERT INTO totals VALUES (%s, %s) ON CONFLICT (key) DO UPDATE"
                        " SET total = totals.total + excluded.total", event.key, amount,
                    )  # fmt: skip
                assert system.sql("SELECT key, total FROM totals ORDER BY key") == [(key, 23) for key in sorted(KEYS)]

    run(scenario())


def test_given_what_is_needed_as_rows_when_archiving_then_it_stays(system: System, tmp_path: Path) -> None:
    """Of the newest events, of young ones, and of those that a reader has not come to."""

    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 30, ["k0"])
            _, lane = actor_of("k0")
            assert (await there.away(counter, Retention(keep_events=1, keep_for_s=3600.0))).events == 0
            system.sql("UPDATE events SET at = at - interval '2 hours' WHERE seq <= 12")
            places = "INSERT INTO readers (reader, lane, position) VALUES ('fast', %s, 20), ('slow', %s, 7)"
            system.sql(places, lane, lane)
            assert (await there.away(counter, Retention(keep_events=1, keep_for_s=3600.0))).events == 7
            system.sql("DELETE FROM readers WHERE reader = 'slow'")
            assert (await there.away(counter, Retention(keep_events=1, keep_for_s=3600.0))).events == 5
            assert (await there.away(counter, Retention(keep_events=13, keep_for_s=0.0))).events == 5
            system.sql("DELETE FROM readers")
            assert (await there.away(counter, Retention(keep_events=1, keep_for_s=0.0))).events == 12
            assert system.sql("SELECT seq FROM events") == [(30,)]

    run(scenario())


def test_given_a_run_that_is_not_done_when_archiving_then_what_it_has_recorded_stays_and_it_ends_as_it_would(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with archive(system, tmp_path) as there:
            async with system.pod(kinds.clerk), system.client() as client:
                former = await client.submit("clerk", "c", "serve", id="former")
                await former.signal("limit", 10)
                await former.cancel()
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
                ((over,),) = system.sql("SELECT count(*) FROM events")
                running = await client.submit("clerk", "c", "serve", id="one")
                await running.signal("limit", 10)
                for n in range(8):
                    assert await running.update("take", n) == {"taken": n}
                done = await there.away(kinds.clerk, Retention(keep_events=1, keep_for_s=0.0))
                assert done.events == over > 0
            async with system.pod(kinds.clerk), system.client() as client:  # it starts anew, and takes up where it was
                again = client.run(running.id)
                assert await again.update("take", 9) == {"taken": 9}
                await again.cancel()
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
                done = await there.away(kinds.clerk, Retention(keep_events=1, keep_for_s=0.0))
                assert done.events > 8

    run(scenario())


@pytest.mark.parametrize("harm", ["flipped", "forged", "gone", "cut-off"])
def test_given_a_damaged_segment_when_an_actor_needs_it_then_that_one_stops_by_name_and_loses_nothing(
    system: System, tmp_path: Path, harm: str
) -> None:
    async def scenario() -> None:
        async with archive(system, tmp_path) as there:
            async with system.pod(counter), system.client() as client:
                await count_up(client, 30, ["k0", "other"])
                await there.away(counter)
                await count_up(client, 5, ["new"])
            _, lane = actor_of("k0")
            ((number, name),) = system.sql("SELECT id, name FROM segments WHERE lane = %s", lane)
            file = tmp_path / name
            whole = file.read_bytes()
            spoil(file, harm)
            system.sql("DELETE FROM snapshots")
            async with system.pod(counter), system.client() as client:
                with pytest.raises(CallFailed) as failed:
                    await client.ask(counter, "k0", Add(1), timeout_s=30)
                for part in ("unreadable_log", "default/counter/k0", f"segment {number}", file.as_uri(), "--check"):
                    assert part in str(failed.value)
                assert await client.ask(counter, "other", Add(1), timeout_s=30) == 31
                assert await client.ask(counter, "new", Add(1), timeout_s=30) == 6
            with pytest.raises(UnreadableSegment, match=f"segment {number}"):
                await there.reader.actor(*actor_of("k0"))
            with pytest.raises(UnreadableSegment, match=f"segment {number}"):
                await there.log()
            file.write_bytes(whole)
            async with system.pod(counter), system.client() as client:
                assert await client.ask(counter, "k0", Add(1), timeout_s=30) == 31
                exactly_once(await there.log())

    run(scenario())


def spoil(file: Path, harm: str) -> None:
    """Damages a file."""
    data = bytearray(file.read_bytes())
    if harm == "gone":
        file.unlink()
    elif harm == "cut-off":
        file.write_bytes(data[:-20])
    elif harm == "forged":
        file.write_bytes(forged(bytes(data)))
    else:
        data[-20] ^= 1
        file.write_bytes(data)


def forged(data: bytes) -> bytes:
    """The segment with other amounts in its last block, which is sound as far as gzip can tell, and no longer."""
    length = decode_segment(data)[0].blocks[-1].length
    text = gzip.decompress(data[-length:]).replace(b'amount\\":1', b'amount\\":7')
    text = re.sub(rb'"command_id":"[^"]*"', b'"command_id":"x"', text)
    block = gzip.compress(text, mtime=0)
    assert len(block) <= length
    assert b'amount\\":7' in text
    return data[:-length] + block.ljust(length, b"\0")


def test_given_a_snapshot_that_is_not_the_fold_when_archiving_then_nothing_of_its_actor_goes(
    system: System, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 60)
            await until(lambda: system.sql("SELECT count(*) FROM snapshots WHERE seq >= 50") == [(len(KEYS),)])
            for key in ("k5", "k6"):  # one before what is archived ends, one behind it
                belied = """UPDATE snapshots SET state = '{"value":7,"events":60}' WHERE actor = %s"""
                system.sql(belied, actor_of(key)[0])
            stays = {"k5": Retention(keep_events=1, keep_for_s=0.0), "k6": Retention(keep_events=30, keep_for_s=0.0)}
            for key, retention in stays.items():
                caplog.clear()
                done = await there.away(counter, retention)
                assert done.refused == 2
                assert f"counter/{key}: its snapshot at event" in caplog.text
            left = "SELECT a.key FROM events e JOIN actors a USING (actor) GROUP BY 1 HAVING count(*) = 60"
            assert sorted(system.sql(left)) == [("k5",), ("k6",)]

    run(scenario())


def test_given_pods_with_an_archive_when_a_kind_has_a_retention_then_they_archive_it_while_they_work(
    system: System, tmp_path: Path
) -> None:
    kept = entity(
        "counter", initial=kinds.Counter(), apply=kinds.apply, retention=Retention(keep_events=10, keep_for_s=0.0)
    )
    kept.command(name="add")(kinds.add)

    async def scenario() -> None:
        settings = {"archive_url": tmp_path.as_uri(), "archive_every_s": 0.05}
        async with (
            system.pod(kept, cart, **settings) as one,
            system.pod(kept, cart, **settings),
            system.client() as client,
        ):
            await client.ask(cart, "basket", "put", {"item": "x"})
            for n in range(80):
                counts = await asyncio.gather(*[client.ask(kept, key, Add(1), timeout_s=60) for key in KEYS])
                assert set(counts) == {n + 1}
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(10 * len(KEYS) + 1,)])
            assert one.meter.log_losses == 0
            one.activations.clear()
            system.sql("DELETE FROM snapshots")
            assert set(await asyncio.gather(*[client.ask(kept, key, Add(1), timeout_s=60) for key in KEYS])) == {81}
            async with archive(system, tmp_path) as there:
                events = await there.log()
                exactly_once(events)
                assert len(events) == 81 * len(KEYS) + 1

    run(scenario())


def test_given_two_who_archive_at_once_then_each_event_is_in_one_segment(system: System, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 40)
        async with archive(system, tmp_path) as one, archive(system, tmp_path) as other:
            both = await asyncio.gather(*[there.away(counter) for there in (one, other) for _ in range(3)])
            assert sum(done.events for done in both) == 35 * len(KEYS)
            exactly_once(await one.log())
            assert system.sql("SELECT sum(last_seq - first_seq + 1) FROM segment_actors") == [(35 * len(KEYS),)]

    run(scenario())


def test_given_one_who_archived_meanwhile_when_a_segment_is_to_be_recorded_then_nothing_is_done_twice(
    system: System, tmp_path: Path
) -> None:
    """The locks only spare the work: what keeps it right is the transaction."""

    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 40)
        async with archive(system, tmp_path / "a") as one, archive(system, tmp_path / "b") as other:
            put = other.archiver._store.put

            async def slow(name: str, data: bytes) -> None:
                await put(name, data)
                await one.archiver._archive(counter, range(PARTITIONS), ALL_BUT_FIVE, done)

            done = await one.away(cart)
            other.archiver._store.put = slow  # type: ignore[method-assign]  # somebody comes in between just there
            late = await other.away(counter)
            assert done.events == 35 * len(KEYS)
            assert (late.events, late.refused) == (0, len(KEYS))
            exactly_once(await one.log())

    run(scenario())


class FaultyStore(FileStore):
    """A disk that writes something else."""

    async def put(self, name: str, data: bytes) -> None:
        await super().put(name, data[:-1] + bytes([data[-1] ^ 1]))


def test_given_a_disk_that_writes_something_else_when_it_is_read_back_then_the_rows_stay(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 10)
        async with archive(system, tmp_path, FaultyStore(tmp_path.as_uri(), str(tmp_path))) as there:
            done = await there.away(counter)
            assert (done.events, done.refused) == (0, len(KEYS))
            assert there.files
            assert there.rows == 10 * len(KEYS)
            exactly_once(await there.log())

    run(scenario())


def test_given_a_long_log_of_one_actor_when_it_is_archived_then_it_goes_in_several_segments_and_is_folded_from_them(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver, "SEGMENT_EVENTS", 40)

    async def scenario() -> None:
        async with archive(system, tmp_path) as there:
            async with system.pod(counter), system.client() as client:
                await asyncio.gather(*[client.ask(counter, "k0", Add(1), timeout_s=60) for _ in range(205)])
                before = await there.log()
                done = await there.away(counter)
                assert (done.events, done.segments, done.refused) == (200, 5, 0)
                assert await there.log(limit=33) == before
                assert await there.reader.actor(*actor_of("k0"), from_seq=35, limit=100) == before[34:134]
            system.sql("DELETE FROM snapshots; UPDATE archived SET fold_version = 'other'")
            async with system.pod(counter), system.client() as client:
                assert await client.ask(counter, "k0", Add(1), timeout_s=60) == 206
                # The next archiving folds from the first event on, since other code made the state it began from.
                assert (await there.away(counter)).events == 1

    run(scenario())


def test_given_segments_made_rows_again_while_they_are_read_then_nothing_is_missed(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 10)
            before = await there.log()
            await there.away(counter)
            segments = PostgresSegments(system.postgres_url)
            found = await segments.find()
            archived, reader = there.reader._archived, there.reader
            in_lane, back = archived.in_lane, list(found)

            async def late(
                filters: Mapping[str, Any], lane: int, after: int, end: int, limit: int
            ) -> list[LogEvent]:
                while back:  # the rows have been read, the segments have not
                    await segments.restore(back.pop())
                return await in_lane(filters, lane, after, end, limit)

            archived.in_lane = late  # type: ignore[method-assign]  # somebody restores just there
            assert (await reader.after({}, limit=1000))[0] == before
            assert there.rows == 10 * len(KEYS)
            await segments.close()

    run(scenario())


def test_given_a_session_whose_events_are_archived_when_it_is_read_then_they_are_there_in_order(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            for n in range(20):
                await client.ask(counter, f"k{n % 3}", Add(1), session=f"s{n % 2}")
            before = await there.reader.session("default", "s1", {}, 100)
            assert len(before) == 10
            after = {str(before[3].lane): before[3].position}
            beyond = await there.reader.session("default", "s1", after, 4)
            assert (await there.away(counter, Retention(keep_events=1, keep_for_s=0.0))).events == 17
            assert await there.reader.session("default", "s1", {}, 100) == before
            assert await there.reader.session("default", "s1", after, 4) == beyond

    run(scenario())


def test_given_events_of_two_tenants_in_one_segment_when_one_reads_then_it_sees_its_own(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), archive(system, tmp_path) as there:
            for tenant in ("default", "acme"):
                async with system.client(tenant) as client:
                    await count_up(client, 10)
            await there.away(counter)
            reader = PostgresReader(system.postgres_url, system.partitions, role="troupe_reader", tenant="acme")
            found = await reader.by_time(LONG_AGO, LATER, limit=1000)
            assert {event.tenant for event in found} == {"acme"}
            assert len(found) == 10 * len(KEYS)
            assert await reader.actor(*actor_of("k3")) == []
            lane = partition_of("acme", "counter", "k3", PARTITIONS)
            assert len(await reader.actor(actor_id("acme", "counter", "k3"), lane)) == 10
            await reader.close()

    run(scenario())


def test_given_a_file_of_the_archive_when_read_with_nothing_of_ours_then_all_columns_are_in_it(
    system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 10, ["k0"])
        system.sql(
            "UPDATE events SET payload = %s, principal = 'ann', session = 's', causation_id = 'c',"
            " correlation_id = 'r', key_id = 'key', hash = '\\x00ff', at = '2026-01-02 03:04:05.000006Z' WHERE seq = 3",
            '{"amount" :\n 1 }',
        )
        columns = "seq, position, type, version, epoch, command_id, payload::text, session, causation_id,"
        columns += " correlation_id, principal, code_version, key_id, encode(hash, 'hex')"
        rows = system.sql(f"SELECT {columns} FROM events WHERE seq <= 5 ORDER BY seq")
        async with archive(system, tmp_path) as there:
            await there.away(counter)
            (file,) = there.files
            header, actor, *events = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
            assert (header["format"], header["version"], header["events"]) == ("troupe-segment", 1, 5)
            assert (actor["tenant"], actor["kind"], actor["key"]) == ("default", "counter", "k0")
            names = ("seq", "position", "type", "version", "epoch", "command_id", "payload", "session", "causation_id",
                     "correlation_id", "principal", "code_version", "key_id", "hash")  # fmt: skip
            assert [tuple(event.get(name) for name in names) for event in events] == rows
            assert events[2]["at"] == "2026-01-02T03:04:05.000006Z"
            assert decode_segment(file.read_bytes())[0].blocks[0].key == "k0"

    run(scenario())

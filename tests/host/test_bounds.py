"""What must not grow without end: mailboxes, requests being answered, and the answers kept for repeats."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from msgspec import Struct

from runtime.client import objects
from runtime.clock import system_clock
from runtime.entity import entity
from runtime.host import desk, housekeeping, lane
from runtime.host.command import Command
from runtime.host.committer import MAX_BATCH_BYTES, Committer
from runtime.host.lane import MAILBOX_LIMIT, Activations
from runtime.host.meter import Meter
from runtime.host.pod import Pod
from runtime.host.turn_thread import TurnThread
from runtime.postgres import keeping
from runtime.postgres.commit_log import PostgresCommitLog
from schemas.address import Address, partition_of
from tests.host.test_regressions import lane_of
from tests.support.emptying import migrated
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

MB = 1_000_000


class Kept(Struct, frozen=True):
    size: int


def add_size(state: int, event: Kept) -> int:
    """The fold of `album`."""
    return state + event.size


album = entity("album", initial=0, apply=add_size)


@album.command
def keep(state: int, photo: str) -> Kept:
    """Takes a large argument, and logs its size."""
    return Kept(len(photo))


def test_given_a_log_that_stands_still_when_commands_pour_in_then_they_wait_in_the_broker(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as holding:
                holding.execute("LOCK TABLE events IN SHARE MODE")
                await asyncio.gather(*[client.tell(counter, "a", Add(1)) for _ in range(3 * MAILBOX_LIMIT)])
                await until(lambda: max((lane.queued for lane in pod.lanes.values()), default=0) >= MAILBOX_LIMIT // 2)
                for _ in range(50):
                    assert all(lane.queued <= MAILBOX_LIMIT for lane in pod.lanes.values())
                    await asyncio.sleep(0.01)
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(3 * MAILBOX_LIMIT + 1,)])
            await until(lambda: pod.mailboxes.bytes == 0)

    run(scenario())


def test_given_answers_older_than_the_window_when_trimmed_then_only_what_nobody_can_repeat_goes(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=0.0) as pod, system.client() as client:
            for n in range(5):
                await client.ask(counter, f"k{n}", Add(1), id=f"early-{n}")
            # The database's clock may be behind the broker's.
            system.sql("UPDATE inbox SET at = at - interval '4 minutes'")
            await pod.housekeeping.trim_inbox()
            assert system.sql("SELECT count(*) FROM inbox") == [(5,)], "the stream still holds their commands"
            await client.ask(counter, "a", Add(1), id="last")
            await until(lambda: _alone(pod))
            system.sql("UPDATE inbox SET at = at - interval '4 minutes'")
            await pod.housekeeping.trim_inbox()

    run(scenario())
    assert system.sql("SELECT command_id FROM inbox") == [("last",)]


def test_given_more_old_answers_than_a_page_when_house_is_kept_then_all_go_and_their_room_is_used_again(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.05)
    monkeypatch.setattr(housekeeping, "VACUUM_EVERY_S", 0.05)
    monkeypatch.setattr(keeping, "INBOX_PAGE", 10)
    monkeypatch.setattr(keeping, "VACUUM_ROWS", 50)
    old = f"now() - interval '{housekeeping.CLOCK_SKEW_S + 60} s'"

    def vacuumed() -> bool:
        return bool(system.sql("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'inbox'") > [(0,)])

    async def scenario() -> None:
        async with system.pod(counter, inbox_window_s=0.0):
            assert not vacuumed()
            system.sql(
                "INSERT INTO inbox (actor, command_id, seq, lane, digest, failed, at, result)"
                f" SELECT gen_random_uuid(), 'old-' || n, 1, 0, 0, false, {old}, 'null' FROM generate_series(1, 55) n"
            )
            await until(lambda: system.sql("SELECT count(*) FROM inbox") == [(0,)])
            await until(vacuumed)

    run(scenario())


def test_given_counters_as_after_a_crash_when_any_row_is_deleted_then_its_table_is_vacuumed(
    new_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "VACUUM_ROWS", 20)
    asyncio.run(migrated(new_system.postgres_url))

    async def scenario() -> None:
        kept = keeping.PostgresKeeping(new_system.postgres_url)
        assert await kept.vacuum() == []
        await _come_and_go(new_system, 1)
        assert await kept.vacuum() == list(COLUMNS)
        monkeypatch.setattr(keeping, "VACUUM_AGAIN_S", 0.0)
        await _come_and_go(new_system, 1)
        assert await kept.vacuum() == [], "so little is not worth it"
        monkeypatch.setattr(keeping, "VACUUM_AGAIN_S", 1e6)
        await _come_and_go(new_system, 20)
        assert await kept.vacuum() == [], "they were vacuumed just now"
        monkeypatch.setattr(keeping, "VACUUM_AGAIN_S", 0.0)
        assert await kept.vacuum() == list(COLUMNS)
        await kept.close()

    run(scenario())


COLUMNS = {
    "pending": "lane, actor, command_id, tenant, kind, key, method, digest, state, holds, headers, body",
    "outbox": "lane, ord, message_id, subject, headers, body",
    "timers": "actor, name, lane, due_at, fire_id, tenant, kind, key, method, headers, body",
    "refused": "actor, command_id, fingerprint, digest, partition, seq, code, failure",
    "runs": "actor, command_id, tenant, kind, key, method, digest, status, attempts, tags, seq, since",
    "inbox": "actor, command_id, seq, lane, digest, failed, result",
}  # fmt: skip
VALUES = {
    "actor": "gen_random_uuid()", "command_id": "n", "name": "n", "ord": "n", "state": "'waiting'", "holds": "true",
    "headers": "'{}'", "due_at": "now()", "status": "'completed'", "tags": "'{}'", "since": "now()",
    "lane": "0", "digest": "0", "fingerprint": "0", "partition": "0", "seq": "0", "attempts": "0", "failed": "false",
}  # fmt: skip


async def _come_and_go(system: System, rows: int) -> None:
    """Inserts rows into every table that housekeeping vacuums and deletes them, and waits until they are counted."""
    counted = "SELECT relname, n_tup_del FROM pg_stat_user_tables WHERE relname = ANY(%s)"
    before = dict(system.sql(counted, list(COLUMNS)))
    inserts = []
    for table, columns in COLUMNS.items():
        values = ", ".join(VALUES.get(name, "''") for name in columns.split(", "))
        inserts.append(f"INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series(1, {rows}) n")
    system.sql("; ".join(inserts))
    system.sql("; ".join(f"DELETE FROM {table}" for table in COLUMNS))
    await until(lambda: all(count == before[name] + rows for name, count in system.sql(counted, list(COLUMNS))))


async def _alone(pod: Pod) -> bool:
    """Whether CMD holds no more than its last message, after trimming."""
    await pod.housekeeping.move_anchors()
    await asyncio.sleep(0.05)
    await pod.housekeeping.trim()
    return int((await pod.connection.jetstream().stream_info("CMD")).state.messages) <= 1


def test_given_large_bodies_when_batches_are_taken_then_each_has_its_share_and_none_is_left(system: System) -> None:
    log = PostgresCommitLog(system.postgres_url, "nobody", "v", 2.0)

    async def lost(error: Exception) -> None:
        raise error

    committer = Committer(
        log, {}, Activations(10, 10), system_clock, Meter(), max_batch=10, after=lambda *_: None, lost=lost,
        principal_of=lambda _: None, turns=TurnThread(),
    )  # fmt: skip
    owned = lane_of(1)
    for number in range(1, 6):
        command = Command(owned, Address("default", "counter", "a"), "a", "add", {"Troupe-Id": str(number)}, b"")
        command.size, command.fetched = 1000, MAX_BATCH_BYTES // 2
        committer.put(command)
    batches = [[item.id for item in committer._take()[0] if type(item) is Command] for _ in range(4)]
    assert batches == [["1", "2"], ["3", "4"], ["5"], []]
    committer.close()


# -- large bodies -----------------------------------------------------------------------------------------------------


def held_in_memory() -> int:
    """Bytes of the bodies of all commands that are in memory."""
    return sum(len(one.body) for one in gc.get_objects() if type(one) is Command)


def test_given_large_bodies_when_the_log_stands_still_then_only_what_fits_is_fetched(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_MAILBOX_BYTES", 5 * MB)

    async def scenario() -> None:
        async with system.pod(album) as pod, system.client() as client:
            await client.ask(album, "k0", "keep", {"photo": ""})
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as holding:
                holding.execute("LOCK TABLE events IN SHARE MODE")
                jobs = [client.ask(album, f"k{n % 6}", "keep", {"photo": "x" * 2 * MB}) for n in range(18)]
                asks = [asyncio.ensure_future(job) for job in jobs]
                await until(lambda: sum(lane.queued for lane in pod.lanes.values()) == 18)
                await until(lambda: held_in_memory() > MB)
                for _ in range(20):
                    assert held_in_memory() < 6 * MB
                    await asyncio.sleep(0.05)
            await asyncio.gather(*asks)
            await until(lambda: pod.mailboxes.bytes == pod.mailboxes.fetched == 0)

    run(scenario())
    assert system.sql("SELECT count(*) FROM events WHERE payload::text LIKE '%2000000%'") == [(18,)]


def test_given_mailboxes_full_of_small_messages_behind_a_large_one_when_it_is_fetched_then_all_go_on(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_MAILBOX_BYTES", MB)

    photos = [2 * MB, *[MB // 2] * 6, 2 * MB, MB // 2]

    async def scenario() -> None:
        async with system.pod(album, partitions=1):
            pass  # it makes the stream
        async with system.client() as client:
            for size in photos:
                await client.tell(album, "a", "keep", {"photo": "x" * size})
            async with system.pod(album, partitions=1) as pod:
                await client.ask(album, "a", "keep", {"photo": ""})
                await until(lambda: pod.mailboxes.bytes == pod.mailboxes.fetched == 0)

    run(scenario())
    (sizes,) = zip(*system.sql("SELECT payload::text FROM events ORDER BY seq"), strict=True)
    assert [msgspec.json.decode(one)["size"] for one in sizes] == [*photos, 0]


def test_given_an_object_larger_than_any_body_may_be_when_asked_for_then_it_is_not_fetched(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with system.pod(album) as pod:
            await objects.Objects(pod.connection).put("default/huge", b"x" * 2 * MB)
            monkeypatch.setattr(objects, "MAX_OBJECT_BYTES", MB)
            headers = {"Troupe-Object": "default/huge", "Troupe-Id": "huge"}
            await pod.connection.publish("cmd.default.album.a.keep", b"digest", headers=headers)
            await until(lambda: system.sql("SELECT code FROM dead_letters") == [("too_large",)])

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters WHERE error LIKE '%2000000 bytes%'") == [(1,)]


# -- requests ---------------------------------------------------------------------------------------------------------


def test_given_more_reads_than_a_pod_answers_at_once_when_asked_then_the_rest_is_told_so(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MAX_SERVED", 10)

    async def scenario() -> Counter[str]:
        async with system.pod(counter) as pod, system.client() as client:
            number = partition_of("default", "counter", "a", system.partitions)
            subject = f"q.{number}.default.counter.a.$result"
            question = b'{"id":"later","wait_s":300.0}'
            told: Counter[str] = Counter()

            async def ask() -> None:
                answer = await pod.connection.request(subject, question, timeout=120)
                reply: Any = msgspec.json.decode(answer.data)
                told[reply["error"]["code"] if "error" in reply else reply["result"]["status"]] += 1

            asking = asyncio.gather(*[ask() for _ in range(30)])
            await until(lambda: told["too_many_requests"] == 20)
            await client.ask(counter, "a", Add(1), id="later")
            await asking
            again = await pod.connection.request(subject, b'{"id":"never"}', timeout=60)
            assert b'"unknown"' in again.data
            assert pod.reads.outcomes._waiting == {}
            return told

    assert run(scenario()) == {"done": 10, "too_many_requests": 20}


def test_given_more_calls_than_a_pod_relays_at_once_when_requested_then_the_rest_is_told_so(
    system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(desk, "MAX_SERVED", 5)
    path = tmp_path / "go"
    told: Counter[str] = Counter()

    async def scenario() -> None:
        async with system.pod() as pod:
            slow = msgspec.json.encode({"item": "tea", "quantity": 1, "path": str(path)})

            async def call(number: int) -> None:
                answer = await pod.connection.request(f"call.default.cart.k{number}.put_slowly", slow, timeout=120)
                told[(answer.headers or {}).get("Nats-Service-Error-Code", "")] += 1

            calling = asyncio.gather(*[call(number) for number in range(15)])
            await until(lambda: told["429"] == 10)
            path.touch()
            await calling
            assert told == {"": 5, "429": 10}

    run(scenario())


def test_given_a_log_that_does_not_answer_when_a_result_is_asked_for_then_nothing_of_it_is_kept(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod:
            number = partition_of("default", "counter", "a", system.partitions)
            subject = f"q.{number}.default.counter.a.$result"
            await pod.connection.request(subject, b'{"id":"never"}', timeout=60)
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as holding:
                holding.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
                asking = asyncio.ensure_future(pod.connection.request(subject, b'{"id":"never"}', timeout=120))
                locked = "wait_event_type = 'Lock' AND query LIKE '%FROM inbox%'"
                waiting = f"SELECT pid FROM pg_stat_activity WHERE {locked}"
                await until(lambda: system.sql(waiting))
                system.sql(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) x")
                assert b'"unavailable"' in (await asking).data
            assert pod.reads.outcomes._waiting == {}

    run(scenario())

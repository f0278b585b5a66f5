"""A database that went back: an older copy of it is put in place while pods live and the broker keeps its stream."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import nats.errors
import pytest

from runtime.host.ports import Changes, Fence, LogTimedOut, LogUnavailable, Wanted
from runtime.host.reading import SnapshotRow
from runtime.infra import Infra, process
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.migrate import migrate
from runtime.postgres.snapshots import PostgresSnapshots
from schemas.wire import Fact
from tests.host.test_frozen import LEASE_S, may_be_over
from tests.host.test_log import owned
from tests.host.test_ownership import assert_exactly_once, balanced, owners, under_load
from tests.support.kinds import Add, counter
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run, until


class Copies:
    """File-level copies of a Postgres cluster: as a disk's snapshot takes them, while sessions live."""

    def __init__(self, infra: Infra, directory: Path) -> None:
        self._server = infra.postgres
        self._copy = directory / "copy"

    def take(self) -> None:
        """Copies the files while every process of the server stands still."""
        assert self._server.pid is not None
        family = [self._server.pid, *[child.pid for child in process.children(self._server.pid)]]
        _signal(family, signal.SIGSTOP)
        try:
            _copy(self._server.cluster, self._copy)
        finally:
            _signal(family, signal.SIGCONT)

    def put_back(self) -> None:
        """Kills the server and starts it on the files of the copy."""
        self._server.kill()
        shutil.rmtree(self._server.cluster)
        _copy(self._copy, self._server.cluster)
        self._server.start()


def _signal(family: list[int], number: signal.Signals) -> None:
    for pid in family:
        with contextlib.suppress(ProcessLookupError):  # a backend that was just ending writes nothing either
            os.kill(pid, number)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)  # with owners: Postgres insists on its own


@pytest.fixture
def copies(infra: Infra, tmp_path: Path) -> Copies:
    return Copies(infra, tmp_path)


OPEN_TRANSACTIONS = """
    SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = 'troupe'
"""
COUNTED = "SELECT key, count(*), count(DISTINCT command_id) FROM log GROUP BY key ORDER BY key"


def test_given_an_older_copy_of_the_database_when_pods_meet_it_under_load_then_every_command_counts_once(
    own_system: System, copies: Copies
) -> None:
    pods = [own_system.start_pod(), own_system.start_pod()]

    async def scenario() -> dict[str, list[int]]:
        await balanced(own_system, pods)

        async def fault() -> None:
            await asyncio.to_thread(copies.take)
            before = own_system.sql("SELECT count(*) FROM events")[0][0]
            await until(lambda: own_system.sql("SELECT count(*) FROM events")[0][0] > before + 200)
            await asyncio.to_thread(copies.put_back)

        return await under_load(own_system, fault)

    assert_exactly_once(own_system, run(scenario()))
    assert [pod.process.poll() for pod in pods] == [None, None], "the pods should have lived through it"


def test_given_an_older_copy_of_the_database_when_nobody_asks_anything_then_the_stream_is_read_again_by_itself(
    own_system: System, copies: Copies
) -> None:
    """Nothing comes after the copy is in place: what the pods hold in memory must not keep them from noticing."""
    own_system.start_pod()

    async def scenario() -> None:
        async with own_system.client() as client:
            await client.ask(counter, "before", Add(1))
            await asyncio.to_thread(copies.take)
            for n in range(20):
                await client.ask(counter, f"k{n % 4}", Add(1), id=f"after-{n}")
            complete = own_system.sql(COUNTED)
            await until(lambda: own_system.sql("SELECT count(DISTINCT checkpoint) FROM partitions") == [(1,)])
            await asyncio.to_thread(copies.put_back)
            await until(lambda: own_system.sql(COUNTED) == complete)
            assert await client.ask(counter, "k0", Add(1)) == 6

    run(scenario())


def test_given_an_epoch_that_a_frozen_pod_still_holds_when_the_restored_log_gives_it_again_then_the_pod_is_fenced(
    own_system: System, copies: Copies
) -> None:
    """The second pod takes the lanes of the first, is frozen, and the copy knows nothing of its epochs."""
    first, second = own_system.start_pod(), own_system.start_pod()

    async def scenario() -> dict[str, list[int]]:
        await balanced(own_system, [first, second])
        await asyncio.to_thread(copies.take)
        await balanced(own_system, [first, second])

        async def fault() -> None:
            first.freeze()
            await until(lambda: owners(own_system) == {second.name: own_system.partitions})
            held = dict(own_system.sql("SELECT lane, epoch FROM partitions"))
            await asyncio.sleep(0.3)
            second.freeze()
            await asyncio.to_thread(copies.put_back)
            # On a busy machine lanes may have moved after the copy was taken, and epochs have gone beyond these.
            for lane, epoch in held.items():
                own_system.sql("UPDATE partitions SET epoch = greatest(epoch, %s) WHERE lane = %s", epoch - 1, lane)
            first.wake()
            await until(lambda: owners(own_system) == {first.name: own_system.partitions})
            again = dict(own_system.sql("SELECT lane, epoch FROM partitions"))
            assert any(again[lane] == epoch for lane, epoch in held.items()), "no epoch came again"
            second.wake()
            await balanced(own_system, [first, second])

        return await under_load(own_system, fault)

    assert_exactly_once(own_system, run(scenario()))
    assert [pod.process.poll() for pod in (first, second)] == [None, None]


def test_given_a_pod_frozen_in_its_transaction_when_the_restored_log_holds_its_epoch_then_it_forgets_all_it_knew(
    own_system: System, copies: Copies, tmp_path: Path
) -> None:
    """Time runs out for its transaction, which a pod may try again: on another log that still names it as the owner."""
    pod = own_system.start_pod("tests.host.freezing", lease_ttl_s=LEASE_S)
    mark = tmp_path / "frozen"

    async def scenario() -> None:
        async with own_system.client() as client:
            await client.ask("freezer", "a", "add")
            await asyncio.to_thread(copies.take)
            for n in range(10):
                await client.ask("freezer", "a", "add", id=f"after-{n}")
            await client.ask("freezer", "a", "add", id="after-9")  # behind a repeat, a batch is begun before its turns
            freezing = asyncio.ensure_future(client.ask("freezer", "a", "freeze", {"mark": str(mark)}, timeout_s=60))
            await until(mark.exists)
            assert own_system.sql(OPEN_TRANSACTIONS) == [(1,)] or may_be_over(mark)
            await until(lambda: own_system.sql(OPEN_TRANSACTIONS) == [(0,)])
            await asyncio.to_thread(copies.put_back)
            pod.wake()
            assert await freezing == 12
            assert await client.ask("freezer", "a", "add") == 13

    run(scenario())
    assert own_system.sql("SELECT seq FROM log ORDER BY seq") == [(n,) for n in range(1, 14)]


def test_given_a_transaction_whose_time_ran_out_when_another_server_answers_then_its_log_is_not_believed(
    own_system: System, infra: Infra
) -> None:
    """A batch is tried again after that, and this server may name the pod as the owner and know nothing of the rest."""
    fence = Wanted([Fence(0, 1, 1, 1, 0)])

    async def scenario() -> None:
        await owned(own_system, 0)
        log = PostgresCommitLog(own_system.postgres_url, "me", "v", lease_ttl_s=4.0)
        assert (await log.begin(fence)).lanes == {0}
        while own_system.sql(OPEN_TRANSACTIONS) != [(0,)]:
            time.sleep(0.01)  # the loop stands still, as a frozen pod's does, until after the restart
        infra.postgres.kill()
        infra.postgres.start()
        with pytest.raises(LogTimedOut):
            await log.commit(Changes())
        with pytest.raises(LogUnavailable, match="started anew"):
            await log.begin(fence)
        assert (await log.begin(fence)).lanes == {0}, "once everything was given up"
        await log.rollback()
        await log.close()

    run(scenario())


def test_given_a_snapshot_when_another_server_answers_then_it_is_not_written_before_everything_was_given_up(
    own_system: System, infra: Infra
) -> None:
    """It may be of events that this server's log does not hold, or holds otherwise."""
    rows = [SnapshotRow("0" * 31 + "1", "default", seq, "fold", "{}") for seq in (1, 2)]

    async def scenario() -> None:
        await owned(own_system, 0)
        snapshots = PostgresSnapshots(own_system.postgres_url)
        await snapshots.save(rows[:1])
        infra.postgres.kill()
        infra.postgres.start()
        for _ in range(2):  # the first one only finds its connection broken
            with pytest.raises(LogUnavailable):
                await snapshots.save(rows[1:])
        with pytest.raises(LogUnavailable, match="started anew"):
            await snapshots.save(rows[1:])
        assert own_system.sql("SELECT seq FROM snapshots") == [(1,)]
        snapshots.forget()
        await snapshots.save(rows[1:])
        await snapshots.close()

    run(scenario())
    assert own_system.sql("SELECT seq FROM snapshots") == [(2,)]


def test_given_a_copy_that_is_older_than_every_pod_when_they_meet_it_then_they_register_again_and_read_all(
    own_system: System, copies: Copies
) -> None:
    async def scenario() -> None:
        await migrate(own_system.postgres_url)
        await asyncio.to_thread(copies.take)
        async with own_system.pod(counter), own_system.client() as client:
            for n in range(20):
                await client.ask(counter, f"k{n % 4}", Add(1), id=f"c{n}")
            complete = own_system.sql(COUNTED)
            await asyncio.to_thread(copies.put_back)
            await until(lambda: own_system.sql(COUNTED) == complete)
            assert own_system.sql("SELECT kind FROM kinds") == [("counter",)]
            assert await client.ask(counter, "k0", Add(1)) == 6

    run(scenario())


def test_given_a_fact_of_a_log_that_is_gone_when_the_restored_one_has_another_event_there_then_that_is_told_too(
    own_system: System, copies: Copies
) -> None:
    """The broker drops a second message with the id of one that it has stored: this fact needs an id of its own."""

    async def scenario() -> list[str]:
        async with own_system.pod(counter) as pod, own_system.client() as client:
            await client.ask(counter, "b", Add(1))
            await asyncio.to_thread(copies.take)
            await client.ask(counter, "a", Add(1), id="gone", session="s")
            js = pod.connection.jetstream()
            await until(lambda: own_system.sql("SELECT count(*) FROM outbox") == [(0,)])
            await js.purge_stream("CMD")  # the backup is older than what the stream keeps
            await asyncio.to_thread(copies.put_back)
            await client.ask(counter, "a", Add(2), id="kept", session="s")
            await until(lambda: own_system.sql("SELECT count(*) FROM outbox") == [(0,)])
            facts = await js.subscribe("ev.default.s", ordered_consumer=True)
            told: list[str] = []
            with suppress(nats.errors.TimeoutError):
                while len(told) < 4:
                    fact = msgspec.json.decode((await facts.next_msg(timeout=5)).data, type=Fact)
                    told.append(f"{fact.type} of {fact.command}")
            return told

    assert run(scenario()) == ["event of gone", "result of gone", "event of kept", "result of kept"]
    assert own_system.sql("SELECT seq, command_id FROM log WHERE key = 'a'") == [(1, "kept")]


def test_given_commands_processed_within_the_window_when_trimmed_then_the_stream_keeps_them_for_a_restored_log(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=3600.0) as pod, system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(30)])
            await pod.housekeeping.move_anchors()
            await until(lambda: system.sql("SELECT min(checkpoint) FROM partitions") == [(30,)])
            assert await pod.housekeeping.trim() == 0
            assert (await pod.connection.jetstream().stream_info("CMD")).state.messages == 30
            pod.housekeeping._trim_lag_s = 0.0  # as if the window had passed
            await until(pod.housekeeping.trim)
            assert (await pod.connection.jetstream().stream_info("CMD")).state.messages == 1

    run(scenario())


def test_given_another_log_in_the_place_of_theirs_when_pods_meet_it_then_they_end_instead_of_writing_to_it(
    own_system: System, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await migrate(own_system.postgres_url)
        await asyncio.to_thread(copies.take)
        own_system.sql("UPDATE settings SET value = 'ours' WHERE name = 'log_id'")
        async with own_system.pod(counter) as pod, own_system.client() as client:
            await client.ask(counter, "a", Add(1))
            await asyncio.to_thread(copies.put_back)
            await asyncio.wait_for(pod.failed.wait(), PATIENCE_S)

    run(scenario())
    assert "put the right database back" in caplog.text
    assert own_system.sql("SELECT count(*) FROM events") == [(0,)]

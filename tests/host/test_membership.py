"""Who is a member, on whose clock, and how one leaves."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psycopg
import pytest

from runtime.host.pod import Pod
from runtime.host.ports import Fence, LogUnavailable, Wanted
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.ownership import PostgresOwnership
from schemas.address import partition_of
from tests.host.test_fence import SEARCH_PATH, WAITING
from tests.host.test_log import owned
from tests.support.kinds import Add, counter, patient
from tests.support.system import System, run, until

AN_HOUR_S = 3600.0


def test_given_a_statement_that_waits_when_a_heartbeat_is_due_then_it_does_not_wait_for_it(system: System) -> None:
    async def scenario() -> None:
        await owned(system, 0)
        ownership = PostgresOwnership(system.postgres_url, "me", "default", "v", {})
        with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
            other.execute("SELECT FROM partitions FOR UPDATE")
            for _ in range(5):
                releasing = asyncio.ensure_future(ownership.release([(0, 1)]))
                await until(lambda: system.sql(WAITING) == [(1,)])
                await ownership.heartbeat(AN_HOUR_S)
                if not releasing.done():
                    break
                with pytest.raises(LogUnavailable):
                    await releasing  # it had waited for as long as a lock is waited for before it was looked at
            assert not releasing.done()
        await asyncio.wait([releasing])
        await ownership.close()

    run(scenario())
    assert system.sql("SELECT id FROM pods") == [("me",)]


def test_given_a_pod_whose_clock_is_an_hour_off_when_it_renews_its_lease_then_it_ends_in_time_all_the_same(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time

    async def scenario() -> None:
        await owned(system)
        ownership = PostgresOwnership(system.postgres_url, "me", "default", "v", {})
        monkeypatch.setattr(time, "time", lambda: now() + AN_HOUR_S)
        await ownership.heartbeat(2.0)
        await ownership.close()

    run(scenario())
    assert system.sql("SELECT expires_at < clock_timestamp() + interval '2 seconds' FROM pods") == [(True,)]


def test_given_a_heartbeat_whose_answer_takes_long_then_the_lease_counts_from_before_it_was_asked(
    system: System,
) -> None:
    ttl_s = 10.0

    async def scenario() -> None:
        async with system.pod(counter, lease_ttl_s=ttl_s) as pod:
            with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
                other.execute("LOCK TABLE pods IN SHARE MODE")
                await until(lambda: system.sql(WAITING) == [(1,)])
                before, answered_at = pod.leases.until, time.monotonic()
            await until(lambda: pod.leases.until > before)
            assert pod.leases.until < answered_at + ttl_s

    run(scenario())


def test_given_a_lane_that_is_taken_then_its_epoch_is_raised_and_its_former_owner_fenced(system: System) -> None:
    async def scenario() -> None:
        await owned(system, 0)
        log = PostgresCommitLog(system.postgres_url, "me", "v", 20.0)
        assert (await log.begin(Wanted([Fence(0, 1, 1, 1, 0)]))).lanes == {0}
        await log.rollback()
        for pod, epoch in (("other", 2), ("other", 3), ("me", 4)):
            ownership = PostgresOwnership(system.postgres_url, pod, "default", "v", {})
            (taken,) = await ownership.take([0])
            assert taken.epoch == epoch
            await ownership.close()
        assert (await log.begin(Wanted([Fence(0, 1, 1, 1, 0)]))).lanes == frozenset(), "although it is its own again"
        await log.rollback()
        await log.close()

    run(scenario())


def test_given_one_configuration_when_pods_are_started_then_each_has_an_id_of_its_own(system: System) -> None:
    assert Pod(system.settings(), [counter]).id != Pod(system.settings(), [counter]).id


def test_given_a_pod_that_leaves_when_one_of_its_executions_goes_on_then_the_rest_is_taken_and_its_lease_renewed(
    system: System, tmp_path: Path
) -> None:
    """Were it not renewed, another pod would start the execution again."""
    path = tmp_path / "go"
    staying_put = partition_of("default", "patient", "p", system.partitions)
    other = next(
        key for key in map(str, range(20)) if partition_of("default", "counter", key, system.partitions) != staying_put
    )

    async def scenario() -> None:
        leaving = Pod(system.settings(drain_s=AN_HOUR_S), [counter, patient])
        await leaving.start()
        async with system.client() as client:
            running = asyncio.ensure_future(client.ask(patient, "p", "run", {"path": str(path)}, timeout_s=120))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            async with system.pod(counter, patient) as staying:
                stopping = asyncio.ensure_future(leaving.stop())
                await until(lambda: len(staying.lanes) == system.partitions - 1)
                renewed = "SELECT expires_at > clock_timestamp() FROM pods WHERE id = %s AND expires_at > %s"
                ((until_now,),) = system.sql("SELECT expires_at FROM pods WHERE id = %s", leaving.id)
                await until(lambda: system.sql(renewed, leaving.id, until_now) == [(True,)])
                assert not running.done()
                assert await client.ask(counter, other, Add(1)) == 1
                path.touch()
                assert await running == 1, "its first attempt"
                await stopping
                await until(lambda: len(staying.lanes) == system.partitions)

    run(scenario())


def test_given_commands_in_hand_when_a_pod_leaves_then_they_are_committed_before_their_lanes_are_released(
    system: System,
) -> None:
    keys = {partition_of("default", "counter", key, system.partitions): key for key in map(str, range(20))}
    (first, one), (second, two) = list(keys.items())[:2]

    async def scenario() -> None:
        pod = Pod(system.settings(lease_ttl_s=120.0, drain_s=AN_HOUR_S), [counter])
        await pod.start()
        async with system.client() as client:
            assert await asyncio.gather(*[client.ask(counter, key, Add(1)) for key in (one, two)]) == [1, 1]
            with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
                other.execute("LOCK TABLE events IN SHARE MODE")
                await client.tell(counter, one, Add(1))
                await until(lambda: system.sql(WAITING) == [(1,)])
                await client.tell(counter, two, Add(1))
                await until(lambda: len(pod.committer) == 1)
                stopping = asyncio.ensure_future(pod.stop())
                await until(lambda: system.sql("SELECT count(owner) <= 2 FROM partitions") == [(True,)])
                await asyncio.sleep(0.2)
                held = "SELECT partition FROM partitions WHERE owner IS NOT NULL ORDER BY 1"
                assert system.sql(held) == sorted([(first,), (second,)])
            await stopping

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(4,)]
    assert system.sql("SELECT count(owner) FROM partitions") == [(0,)]

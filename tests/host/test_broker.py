"""The broker disappears, forgets, goes back in time, or was set up for something else."""

from __future__ import annotations

import asyncio

import nats
import pytest
from nats.js.api import StreamConfig

from runtime.errors import CallFailed, Misconfigured
from runtime.host.pod import Pod
from schemas.address import partition_of
from tests.support.kinds import Add, cart, counter, double, patient
from tests.support.system import System, drop_streams, run, until


async def recreate_stream(system: System, *, junk: int = 0) -> None:
    """Deletes CMD and makes it anew as it was, as a restored or replaced broker would show it."""
    connection = await nats.connect(system.nats_url)
    js = connection.jetstream()
    config = (await js.stream_info("CMD")).config
    await js.delete_stream("CMD")
    await js.add_stream(config)
    for n in range(junk):
        await js.publish(f"cmd.default.counter.junk{n}.add", b'{"amount":1}')
    await connection.close()


def test_given_a_recreated_stream_when_sequences_start_again_then_no_command_is_skipped(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            for n in range(30):
                await client.ask(counter, f"k{n}", Add(1))
            await recreate_stream(system, junk=5)
            for n in range(30):
                assert await client.ask(counter, f"k{n}", Add(1)) == 2
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(65,)])

    run(scenario())


@pytest.mark.parametrize("junk", [3, 50], ids=["shorter", "longer"])
def test_given_a_stream_recreated_while_no_pod_runs_when_one_starts_then_it_reads_from_the_beginning(
    system: System, junk: int
) -> None:
    """The message at the checkpoint is gone, or another one."""

    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            for _ in range(40):
                await client.ask(counter, "a", Add(1))
        await recreate_stream(system, junk=junk)
        async with system.pod(), system.client() as client:
            await until(
                lambda: (
                    system.sql(
                        "SELECT count(*) FROM log WHERE key LIKE 'junk%%'",
                    )
                    == [(junk,)]
                )
            )
            assert await client.ask(counter, "a", Add(1)) == 41
            checkpoint = "SELECT checkpoint FROM partitions WHERE partition = %s"
            kept = system.sql(checkpoint, partition_of("default", "counter", "a", system.partitions))
            assert kept == [(junk + 1,)], "a checkpoint goes down as well"

    run(scenario())


def test_given_an_anchor_of_another_message_when_a_pod_starts_then_it_reads_all_again_and_counts_nothing_twice(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            for _ in range(5):
                await client.ask(counter, "a", Add(1))
        system.sql("UPDATE partitions SET checkpoint_at = 1 WHERE checkpoint > 0")
        async with system.pod(counter), system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 6

    run(scenario())
    assert "went back in time" in caplog.text
    assert system.sql("SELECT count(*) FROM events") == [(6,)]


def test_given_a_pod_that_starts_again_when_the_broker_is_the_same_then_it_reads_on_where_it_was(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        for expected in (1, 2):
            async with system.pod(counter), system.client() as client:
                assert await client.ask(counter, "a", Add(1)) == expected

    run(scenario())
    assert "went back in time" not in caplog.text


def test_given_other_partitions_when_a_pod_starts_then_the_error_says_what_differs(system: System) -> None:
    async def scenario() -> str:
        async with system.pod():
            pass
        with pytest.raises(Misconfigured) as caught:
            await Pod(system.settings(partitions=16), [counter]).start()
        return str(caught.value)

    message = run(scenario())
    assert "stream CMD" in message
    assert "partition(8" in message and "partition(16" in message


def test_given_a_log_made_for_other_partitions_when_a_pod_starts_on_a_new_broker_then_the_error_says_what_to_set(
    system: System,
) -> None:
    async def scenario() -> str:
        async with system.pod(counter):
            pass
        await drop_streams(system.nats_url)
        with pytest.raises(Misconfigured) as caught:
            await Pod(system.settings(partitions=16), [counter]).start()
        return str(caught.value)

    assert "RUNTIME_PARTITIONS=8" in run(scenario())


def test_given_a_stream_with_an_age_limit_when_a_pod_starts_then_it_refuses(system: System) -> None:
    async def scenario() -> str:
        connection = await nats.connect(system.nats_url)
        await connection.jetstream().add_stream(StreamConfig(name="CMD", subjects=["cmd.*.*.*.*"], max_age=60))
        await connection.close()
        with pytest.raises(Misconfigured) as caught:
            await Pod(system.settings(), [counter]).start()
        return str(caught.value)

    message = run(scenario())
    assert "max_age" in message and "discard" in message and "subject transform" in message


def test_given_a_kind_nobody_serves_when_it_is_deployed_later_then_its_commands_were_kept(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter) as pod:
                run_ = await client.submit(double, "k", "run", {"x": 4})
                assert await client.ask(counter, "a", Add(1)) == 1
                await pod.housekeeping.move_anchors()
                await until(lambda: system.sql("SELECT min(checkpoint) FROM partitions") == [(2,)])
            # The lanes' checkpoints are beyond it by now; the kind is new to them, so they read from the beginning.
            async with system.pod(counter, double):
                assert await run_.result(timeout_s=60) == 8
                assert await client.query(counter, "a", "value") == 1

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(1,)]


def test_given_a_kind_of_another_group_when_a_pod_that_serves_others_claims_it_then_it_is_refused(
    system: System,
) -> None:
    async def scenario() -> str:
        async with system.pod(counter, group="one"), system.pod(double, group="two"):
            with pytest.raises(Misconfigured) as caught:
                await Pod(system.settings(group="two"), [counter, double]).start()
            return str(caught.value)

    assert "served by group 'one'" in run(scenario())


def test_given_two_groups_when_both_run_then_each_reads_only_its_kinds(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, group="one"), system.pod(double, group="two"), system.client() as client:
            for n in range(20):
                assert await client.ask(counter, f"k{n}", Add(3)) == 3
                assert await client.ask(double, f"k{n}", "run", {"x": 3}) == 6

    run(scenario())
    lanes = dict(system.sql("SELECT lane / 8, count(*) FROM inbox GROUP BY 1"))
    assert lanes == {0: 20, 1: 20}
    assert system.sql("SELECT count(*) FROM refused") == [(0,)]


def test_given_groups_of_several_kinds_when_they_read_then_no_consumer_has_several_filters(system: System) -> None:
    async def scenario() -> None:
        one, two = system.pod(counter, cart, group="one"), system.pod(double, patient, group="two")
        async with one, two, system.client() as client:
            for _ in range(3):
                await client.ask(counter, "a", Add(1))
                assert await client.ask(double, "a", "run", {"x": 3}) == 6
                await client.ask(cart, "a", "put", {"item": "egg"})
            connection = await nats.connect(system.nats_url)
            configs = [info.config for info in await connection.jetstream().consumers_info("CMD")]
            await connection.close()
        # With several, each message costs the broker a look at every subject of its partition.
        assert {config.filter_subject for config in configs} == {f"p.{n}.>" for n in range(system.partitions)}
        assert not any(config.filter_subjects for config in configs)

    run(scenario())
    assert system.sql("SELECT lane / 8, count(*) FROM inbox GROUP BY 1 ORDER BY 1") == [(0, 6), (1, 3)]
    assert system.sql("SELECT count(*) FROM refused") == [(0,)]


def test_given_processed_commands_when_trimmed_then_only_what_nobody_needs_goes(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(trim_lag_s=0.0) as pod, system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(50)])
            await client.tell("nobody", "a", "work", {"x": 1}, id="lost-and-found")
            await client.ask(counter, "a", Add(1))

            async def trimmed() -> bool:
                await pod.housekeeping.move_anchors()
                await asyncio.sleep(0.05)
                await pod.housekeeping.trim()
                state = (await pod.connection.jetstream().stream_info("CMD")).state
                return state.messages <= 1 and state.last_seq >= 52

            await until(trimmed)
            await client.ask(counter, "a", Add(1))

    run(scenario())
    letters = system.sql("SELECT kind, key, command_id, code FROM dead_letters")
    assert letters == [("nobody", "a", "lost-and-found", "unknown_kind")]
    assert system.sql("SELECT count(*) FROM events") == [(52,)]


def test_given_a_checkpoint_that_goes_down_when_trimmed_then_what_is_needed_now_stays(system: System) -> None:
    """As that of a lane does whose pod reads the stream from its beginning again."""

    async def scenario() -> int:
        async with system.pod(counter, trim_lag_s=3600.0) as pod, system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(30)])
            await pod.housekeeping.move_anchors()
            await until(lambda: system.sql("SELECT min(checkpoint) FROM partitions") == [(30,)])
            assert await pod.housekeeping.trim() == 0, "it lags behind"
            system.sql("UPDATE partitions SET checkpoint = 10 WHERE partition = 1")
            samples = pod.housekeeping._samples  # as if so much time had passed since they were taken
            samples.extend([(at - 3600.0, upto) for at, upto in [samples.popleft() for _ in range(len(samples))]])

            async def kept() -> int:
                return int((await pod.connection.jetstream().stream_info("CMD")).state.messages)

            async def trimmed() -> bool:
                await pod.housekeeping.trim()
                return await kept() < 30

            await until(trimmed)
            return await kept()

    assert run(scenario()) == 21


def test_given_a_command_on_its_way_when_anchors_are_moved_then_its_lane_waits_for_it(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            feed = pod.lanes[partition_of("default", "counter", "a", system.partitions)].feed
            feed.reading = False  # so what comes is not taken
            await client.tell(counter, "a", Add(1))
            await pod.housekeeping.move_anchors()
            await asyncio.sleep(0.1)
            pod.commands.restart_all("read again")
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(2,)])

    run(scenario())


def test_given_an_expired_deadline_when_its_turn_comes_then_nothing_changes(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            connection = await nats.connect(system.nats_url, inbox_prefix=b"_INBOX.default")
            inbox = connection.new_inbox()
            answers = await connection.subscribe(inbox)
            async with system.pod(counter):
                headers = {"Troupe-Id": "late", "Troupe-Reply": inbox, "Troupe-Deadline": "1000"}
                await connection.publish("cmd.default.counter.a.add", b'{"amount":1}', headers=headers)
                answer = await answers.next_msg(timeout=60)
                assert b'"expired"' in answer.data
                assert await client.query(counter, "a", "value") == 0
            await connection.close()

    run(scenario())
    assert system.sql("SELECT count(*) FROM inbox") == [(0,)]


REFUSE_666 = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.payload::text LIKE '%666%' THEN RAISE EXCEPTION 'not that number' USING ERRCODE = '22023'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def test_given_a_poison_message_in_a_batch_of_hundreds_when_committed_then_the_others_are(system: System) -> None:
    """The log refuses one command's event, and with it the whole batch, until the batch is split down to that one."""

    async def scenario() -> None:
        async with system.pod(counter):
            pass
        for statement in REFUSE_666.split(";\n    CREATE TRIGGER"):
            system.sql(statement if statement.lstrip().startswith("CREATE F") else f"CREATE TRIGGER{statement}")
        async with system.client() as client:
            jobs = [asyncio.ensure_future(client.ask(counter, f"k{n}", Add(1), timeout_s=60)) for n in range(300)]
            poison = asyncio.ensure_future(client.ask(counter, "p", Add(666), timeout_s=60))
            jobs += [asyncio.ensure_future(client.ask(counter, f"l{n}", Add(1), timeout_s=60)) for n in range(100)]
            for n in range(50):
                await client.tell(counter, f"t{n}", Add(1))
            async with system.pod(counter):
                assert await asyncio.gather(*jobs) == [1] * 400
                with pytest.raises(CallFailed) as caught:
                    await poison
                assert "not that number" in str(caught.value)
                told = "SELECT count(*) FROM log WHERE key LIKE 't%'"
                await until(lambda: system.sql(told) == [(50,)])  # nobody sends these again

    run(scenario())
    assert system.sql("SELECT key, method, status FROM dead_letters") == [("p", "add", "parked")]


def test_given_trimming_beyond_an_idle_lane_when_reconnected_then_the_stream_is_not_read_again(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0) as pod, system.client() as client:
            await client.ask(counter, "idle", Add(1))
            for n in range(30):
                await client.ask(counter, f"k{n}", Add(1))

            async def trimmed() -> bool:
                await pod.housekeeping.move_anchors()
                await asyncio.sleep(0.05)
                await pod.housekeeping.trim()
                return (await pod.connection.jetstream().stream_info("CMD")).state.messages <= 1

            await until(trimmed)
            pod.commands.restart_all("as after a reconnect")
            assert await client.ask(counter, "idle", Add(1)) == 2

    run(scenario())
    assert "went back in time" not in caplog.text


def test_given_consumers_that_disappear_under_load_when_noticed_then_every_command_is_answered_once(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            js = pod.connection.jetstream()
            jobs = [asyncio.ensure_future(client.ask(counter, f"k{n % 20}", Add(1), timeout_s=60)) for n in range(400)]
            for _ in range(3):
                for consumer in await js.consumers_info("CMD"):
                    await js.delete_consumer("CMD", consumer.name)
                await asyncio.sleep(0.1)
            jobs += [asyncio.ensure_future(client.ask(counter, f"k{n}", Add(1), timeout_s=60)) for n in range(20)]
            await asyncio.gather(*jobs)
            assert pod.commands.restarts > 0

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(420,)]

"""What one pod does with the commands of its actors, on real servers."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import CallFailed, Rejected
from tests.support import doors
from tests.support.doors import door, porch, shut
from tests.support.kinds import Add, cart, counter, double
from tests.support.system import System, run, until

LONG_S = 300.0
"""A handler that blocks may do so for as long as the test needs."""


def test_given_commands_when_asked_then_answers_come_after_their_events(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            assert await client.ask(counter, "a", Add(3)) == 3
            assert await client.ask(counter, "a", Add(4)) == 7
            assert await client.query(counter, "a", "value") == 7
            assert await client.query(counter, "never-used", "value") == 0

    run(scenario())
    assert system.sql("SELECT seq, type, payload::text FROM log WHERE key = 'a' ORDER BY seq") == [
        (1, "Added", '{"amount":3}'),
        (2, "Added", '{"amount":4}'),
    ]


def test_given_a_repeat_when_the_id_is_known_then_it_is_answered_and_not_counted(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            assert await client.ask(counter, "a", Add(3), id="one") == 3
            assert await client.ask(counter, "a", Add(3), id="one") == 3
            both = [client.ask(counter, "b", Add(1), id="same") for _ in range(5)]
            assert await asyncio.gather(*both) == [1] * 5
            with pytest.raises(CallFailed) as caught:
                await client.ask(counter, "a", Add(5), id="one")
            assert caught.value.code == "id_reused"

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(2,)]


def test_given_a_rejection_when_repeated_then_the_recorded_rejection_is_the_answer(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            with pytest.raises(Rejected) as first:
                await client.ask(counter, "a", "take", {"amount": 5}, id="t")
            assert first.value.details == {"left": 0}
            await client.ask(counter, "a", Add(10))
            with pytest.raises(Rejected):
                await client.ask(counter, "a", "take", {"amount": 5}, id="t")
            assert await client.ask(counter, "a", "take", {"amount": 5}, id="u") == 5

    run(scenario())


def test_given_many_keys_at_once_when_committed_then_each_keeps_its_order(system: System) -> None:
    async def scenario() -> list[list[int]]:
        async with system.pod(), system.client() as client:

            async def one(key: str) -> list[int]:
                return list(await asyncio.gather(*[client.ask(counter, key, Add(1)) for _ in range(40)]))

            return await asyncio.gather(*[one(f"k{n}") for n in range(25)])

    assert run(scenario()) == [list(range(1, 41))] * 25
    assert system.sql("SELECT count(*), count(DISTINCT (actor, seq)) FROM events") == [(1000, 1000)]
    gaps = """
        SELECT count(*) FROM (
            SELECT position - lag(position, 1, 0::bigint) OVER (PARTITION BY lane ORDER BY position) d FROM events) x
        WHERE d <> 1
    """
    assert system.sql(gaps) == [(0,)]


def test_given_a_failing_handler_when_attempts_are_spent_then_it_is_parked_and_the_key_goes_on(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            poison = asyncio.ensure_future(client.ask(counter, "a", "boom"))
            await asyncio.sleep(0)  # it is sent
            behind = await client.ask(counter, "a", Add(1))
            assert behind == 1
            with pytest.raises(CallFailed) as caught:
                await poison
            assert caught.value.code == "handler_failed"
            assert "boom" in str(caught.value)

    run(scenario())
    assert system.sql("SELECT method, attempts, status FROM dead_letters") == [("boom", 3, "parked")]
    assert system.sql("SELECT type FROM events ORDER BY seq") == [("troupe.parked",), ("Added",)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_flaky_handler_when_retried_then_later_commands_waited_in_order(system: System) -> None:
    async def scenario() -> list[int]:
        async with system.pod(), system.client() as client:
            flaky = asyncio.ensure_future(client.ask(counter, "a", "flaky", {"fails": 2}))
            await asyncio.sleep(0)  # it is sent
            answers = await asyncio.gather(*[client.ask(counter, "a", Add(1)) for _ in range(5)])
            await flaky
            return list(answers)

    assert run(scenario()) == [2, 3, 4, 5, 6]


def test_given_a_wrong_result_when_returned_then_it_is_parked_at_once(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(counter, "a", "wrong")
            assert caught.value.code == "bad_result"

    run(scenario())
    assert system.sql("SELECT attempts FROM dead_letters") == [(1,)]


def test_given_on_parked_pause_when_resumed_then_waiting_commands_go_on(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            with pytest.raises(CallFailed):
                await client.ask("fragile", "f", "add", {"amount": 1})
            waiting = asyncio.ensure_future(client.ask("fragile", "f", "add", {"amount": 2}))
            other = await client.ask("fragile", "g", "add", {"amount": 4})
            assert other == 4
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(1,)])
            assert not waiting.done()
            described = await client.query("fragile", "f", "$describe")
            assert described["paused"]["reason"].startswith("command")
            await client.query("fragile", "f", "$order", {"what": "resume", "by": "ann"})
            assert await waiting == 2

    run(scenario())
    assert system.sql("SELECT type FROM log WHERE key = 'f' ORDER BY seq") == [
        ("troupe.parked",), ("troupe.paused",), ("troupe.resumed",), ("Added",)]  # fmt: skip


def test_given_a_dead_letter_when_replayed_then_it_runs_again_in_place(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            with pytest.raises(CallFailed):
                await client.ask("fragile", "f", "add", {"amount": 1}, id="odd")
            await client.query("fragile", "f", "$order", {"what": "resume"})
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            await client.query("fragile", "f", "$order", {"what": "replay", "dead_letter": letter, "by": "ann"})
            await until(lambda: system.sql("SELECT count(*) FROM dead_letters") == [(2,)])
            ((again,),) = system.sql("SELECT id FROM dead_letters WHERE status = 'parked'")
            await client.query("fragile", "f", "$order", {"what": "drop", "dead_letter": again})

    run(scenario())
    assert system.sql("SELECT status FROM dead_letters ORDER BY id") == [("replayed",), ("dropped",)]


def test_given_messages_to_others_when_committed_then_they_arrive_once(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            await client.ask(counter, "a", Add(100))
            await asyncio.gather(
                *[client.ask(counter, "a", "forward", {"to": f"b{n % 3}", "amount": 1}) for n in range(60)]
            )
            await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])

            async def total() -> bool:
                return bool(sum([await client.query(counter, f"b{n}", "value") for n in range(3)]) == 60)

            await until(total)
            assert await client.query(counter, "a", "value") == 40

    run(scenario())
    causes = system.sql("SELECT count(DISTINCT causation_id) FROM log WHERE key LIKE 'b%'")
    assert causes == [(60,)]


def test_given_timers_when_due_then_they_fire_once_and_cancelled_ones_never(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:

            async def later(amount: int, after_s: float, name: str) -> None:
                await client.ask(counter, "a", "add_later", {"amount": amount, "after_s": after_s, "name": name})

            async def value() -> int:
                return int(await client.query(counter, "a", "value"))

            async def comes_to(wanted: int) -> bool:
                return await value() == wanted

            for n in range(20):
                await later(1, 0.2, f"t{n}")
            after_s, late = 0.3, 0
            while True:
                await later(1000, after_s, "not")
                await client.ask(counter, "a", "forget", {"name": "not"})
                if await value() < 1000 * (late + 1):
                    break
                after_s, late = after_s * 2, late + 1  # it was due before it could be taken back
            await later(1, after_s, "behind")  # timers fire in the order in which they are due
            await until(lambda: comes_to(21 + 1000 * late))

    run(scenario())
    assert system.sql("SELECT count(*) FROM timers") == [(0,)]


def test_given_a_key_value_entity_when_an_async_write_runs_then_later_writes_wait_and_reads_do_not(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(porch), system.client() as client:
            assert await client.ask(porch, "c", "add", {"amount": 1}) == 1
            with shut():
                slow = asyncio.ensure_future(client.ask(porch, "c", "add_later", {"amount": 5}))
                await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
                behind = asyncio.ensure_future(client.ask(porch, "c", "add", {"amount": 10}))
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
                assert await client.query(porch, "c", "total") == 1
                assert not slow.done()
            assert await slow == 6
            assert await behind == 16

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_functions_when_called_then_they_are_retried_and_time_out(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            assert await client.ask(double, "k", "run", {"x": 21}) == 42
            assert await client.ask("hesitant", "k", "run", {"fails": 2}) == 3
            with pytest.raises(CallFailed) as caught:
                await client.ask("endless", "k", "run")
            assert "time" in str(caught.value)

    run(scenario())


def test_given_a_blocking_decision_when_it_runs_then_other_keys_and_heartbeats_go_on(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(door, counter, handler_timeout_s=LONG_S) as pod, system.client() as client:
            epochs = {lane.lane: lane.epoch for lane in pod.lanes.values()}
            with shut():
                blocked = asyncio.ensure_future(client.ask(door, "a", "enter"))
                await until(lambda: "door.enter" in caplog.text)
                before = pod.leases.until
                for number in range(1, 21):
                    assert await client.ask(counter, "other", Add(1)) == number
                await until(lambda: pod.leases.until > before)
                assert not blocked.done()
            await blocked
            assert {lane.lane: lane.epoch for lane in pod.lanes.values()} == epochs, "the pod lost its lanes meanwhile"
            await client.ask(door, "a", "knock")
            assert await client.query(door, "a", "passed") == 2

    run(scenario())


def test_given_slow_queries_when_they_block_then_others_are_answered(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(door, counter, handler_timeout_s=LONG_S), system.client() as client:
            with shut():
                slow = asyncio.ensure_future(client.query(door, "a", "peer"))
                await until(lambda: doors.blocked() == 1)
                for n in range(20):
                    assert await client.query(counter, f"k{n}", "value") == 0
                assert not slow.done()
            assert await slow == 0

    run(scenario())


def test_given_an_async_handler_that_blocks_when_it_runs_then_only_its_like_wait(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(porch, counter, handler_timeout_s=LONG_S) as pod, system.client() as client:
            epochs = {lane.lane: lane.epoch for lane in pod.lanes.values()}
            with shut():
                blocked = asyncio.ensure_future(client.ask(porch, "c", "stand"))
                await until(lambda: pod.executions.loop.blocked == 1)
                assert await client.ask(counter, "a", Add(1)) == 1
                assert await client.ask(porch, "d", "add_soon", {"amount": 1}) == 1
                assert not blocked.done()
            assert await blocked == 1
            assert {lane.lane: lane.epoch for lane in pod.lanes.values()} == epochs

    run(scenario())
    assert "porch.stand" in caplog.text


def test_given_a_command_that_is_pending_when_repeated_then_it_is_done_once_and_answered(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(), system.client() as client:
            slow = {"item": "tea", "quantity": 5, "seconds": 1.0}
            both = [asyncio.ensure_future(client.ask(cart, "c", "put_slowly", slow, id="one")) for _ in range(2)]
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(1,)])
            with pytest.raises(CallFailed) as caught:
                await client.ask(cart, "c", "put_slowly", {"item": "milk", "quantity": 5, "seconds": 0.0}, id="one")
            assert caught.value.code == "id_reused"
            await asyncio.gather(*both)
            assert await client.query(cart, "c", "items") == {"tea": 5}

    run(scenario())

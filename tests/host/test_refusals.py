"""What the log refuses, or takes too long over: only what is at fault is parked, and everything else goes on.

The log refuses by real triggers in Postgres.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import CallFailed, Rejected
from tests.host.test_versions import order
from tests.support.kinds import Add, cart, counter, hesitant
from tests.support.system import System, run, until

TRIGGER = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION refuse();
"""
REFUSED = "RAISE EXCEPTION 'not that one' USING ERRCODE = '22023';"
UNPARKABLE = f"IF NEW.type = 'troupe.parked' OR NEW.payload::text LIKE '%666%' THEN {REFUSED} END IF;"
SHORT: dict[str, Any] = {"lease_ttl_s": 1.0, "heartbeat_s": 0.2}
"""So that a time-out comes soon: no transaction is longer than a lease."""


def refuse(system: System, table: str, body: str) -> None:
    """Makes the log run `body` before each row of `table`."""
    system.sql(TRIGGER.format(body, table))


def let_pass(system: System) -> None:
    """Makes the trigger harmless, without a lock on its table."""
    system.sql("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$")


def no_666(then: str = REFUSED) -> str:
    """A trigger's body that acts on events with a certain number."""
    return f"IF NEW.payload::text LIKE '%666%' THEN {then} END IF;"


# -- refused for what it is -------------------------------------------------------------------------------------------


def test_given_an_execution_whose_end_the_log_refuses_when_it_ends_then_it_is_parked_and_others_run_on(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"

    async def scenario() -> None:
        async with system.pod(cart) as pod, system.client() as client:
            refuse(system, "events", no_666())
            slow = {"item": "tea", "quantity": 1, "path": str(path)}
            other = asyncio.ensure_future(client.ask(cart, "other", "put_slowly", slow))
            with pytest.raises(CallFailed) as caught:
                await client.ask(cart, "a", "put_slowly", {"item": "tea", "quantity": 666, "seconds": 0.01})
            assert caught.value.code == "bad_result"
            assert "not that one" in str(caught.value)
            assert await client.ask(cart, "a", "put", {"item": "tea", "quantity": 2}) == 2
            path.touch()
            assert await other == 1
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT key, method, attempts FROM dead_letters") == [("a", "put_slowly", 1)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_pending_commands_of_which_the_log_refuses_one_when_they_go_on_then_it_alone_is_parked(
    system: System,
) -> None:
    async def scenario() -> list[Any]:
        async with system.pod(counter) as pod, system.client() as client:
            refuse(system, "events", no_666())
            await order(pod, "counter", "a", "pause")
            asks = []
            for amount in (1, 2, 666, 3):
                asks.append(asyncio.ensure_future(client.ask(counter, "a", Add(amount))))
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(len(asks),)])
            await order(pod, "counter", "a", "resume")
            answers = await asyncio.gather(*asks, return_exceptions=True)
            assert pod.meter.log_losses == 0
            return answers

    one, two, poison, three = run(scenario())
    assert (one, two, three) == (1, 3, 6)
    assert isinstance(poison, CallFailed)
    assert "not that one" in str(poison)
    assert system.sql("SELECT count(*), min(body) FROM dead_letters") == [(1, b'{"amount":666}')]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_call_that_needs_no_key_when_the_log_refuses_to_go_on_with_it_then_it_is_parked(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(hesitant) as pod, system.client() as client:
            refuse(system, "pending", f"IF NEW.state = 'running' AND NEW.attempts = 2 THEN {REFUSED} END IF;")
            with pytest.raises(CallFailed) as caught:
                await client.ask(hesitant, "a", "run", {"fails": 1})
            assert "not that one" in str(caught.value)
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT kind, method FROM dead_letters") == [("hesitant", "run")]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_an_order_that_the_log_refuses_when_given_then_its_giver_is_told(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            refuse(system, "events", f"IF NEW.type = 'troupe.paused' THEN {REFUSED} END IF;")
            error: Any = (await order(pod, "counter", "a", "pause"))["error"]
            assert error["code"] == "rejected"
            assert "the order to pause default/counter/a" in error["message"]
            assert "not that one" in error["message"]
            assert await client.ask(counter, "a", Add(1)) == 1
            assert pod.meter.log_losses == 0

    run(scenario())


def test_given_a_read_that_the_log_refuses_when_asked_then_its_asker_is_told(system: System) -> None:
    still = "NEW.owner = OLD.owner AND NEW.checkpoint = OLD.checkpoint"

    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            pod.activations.clear()
            refuse(system, "partitions", f"IF TG_OP = 'UPDATE' AND {still} THEN {REFUSED} END IF;")
            with pytest.raises(Rejected) as caught:
                await client.query(counter, "a", "value")
            assert "a read of default/counter/a" in str(caught.value)
            assert await client.ask(counter, "a", Add(1)) == 2
            assert pod.meter.log_losses == 0

    run(scenario())


def test_given_a_command_that_cannot_even_be_parked_when_tried_then_others_go_on_and_it_is_tried_again(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, partitions=1) as pod, system.client() as client:
            refuse(system, "events", UNPARKABLE)
            poison = asyncio.ensure_future(client.ask(counter, "a", Add(666), timeout_s=120))
            behind = asyncio.ensure_future(client.ask(counter, "a", Add(1), timeout_s=120))
            answers = [client.ask(counter, f"k{n % 5}", Add(1)) for n in range(50)]
            assert sorted(await asyncio.gather(*answers)) == sorted([*range(1, 11)] * 5)
            assert not poison.done()
            assert not behind.done()
            let_pass(system)
            assert (await poison, await behind) == (666, 667)
            assert pod.meter.log_losses == 0
            # The lane goes on in the order of the stream again, and its checkpoint with it.
            (lane,) = pod.lanes.values()
            await until(lambda: lane.queued == 0)
            await client.ask(counter, "a", Add(1))
            await until(lambda: lane.checkpoint == lane.feed.taken)

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_a_command_set_aside_when_its_lane_goes_to_another_pod_then_nothing_is_lost_or_done_twice(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, partitions=1, drain_s=0.1):
                refuse(system, "events", UNPARKABLE)
                await client.tell(counter, "a", Add(666))  # a caller that waits would send it again
                answers = await asyncio.gather(*[client.ask(counter, f"k{n % 5}", Add(1)) for n in range(50)])
                assert sorted(answers) == sorted([*range(1, 11)] * 5)
            let_pass(system)
            async with system.pod(counter, partitions=1):
                await until(lambda: system.sql("SELECT count(*) FROM log WHERE key = 'a'") == [(1,)])
                assert await asyncio.gather(*[client.query(counter, f"k{n}", "value") for n in range(5)]) == [10] * 5

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(51,)]


# -- too long ---------------------------------------------------------------------------------------------------------


def test_given_a_log_that_stalls_for_everybody_when_it_moves_again_then_nobody_was_parked(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, **SHORT) as pod, system.client() as client:
            # Parking them would work: it is the rule that keeps them, and not the stall.
            refuse(system, "events", "IF NEW.type <> 'troupe.parked' THEN PERFORM pg_sleep(60); END IF;")
            asks = [asyncio.ensure_future(client.ask(counter, "a", Add(1), timeout_s=120)) for _ in range(2)]
            await until(lambda: any(one.done() for one in asks) or caplog.text.count("counter/a.add") > 4)
            let_pass(system)
            assert await asyncio.gather(*asks) == [1, 2]
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_one_command_over_which_the_log_takes_too_long_when_others_go_on_then_it_alone_is_parked(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, **SHORT) as pod, system.client() as client:
            refuse(system, "events", no_666("PERFORM pg_sleep(60);"))
            asks = [asyncio.ensure_future(client.ask(counter, f"k{n}", Add(1), timeout_s=120)) for n in range(20)]
            poison = asyncio.ensure_future(client.ask(counter, "p", Add(666), timeout_s=120))
            behind = asyncio.ensure_future(client.ask(counter, "p", Add(1), timeout_s=120))
            number = 0
            while not poison.done():
                number += 1
                assert await client.ask(counter, "other", Add(1), timeout_s=120) == number
            with pytest.raises(CallFailed) as caught:
                await poison
            assert "timeout" in str(caught.value)
            assert await behind == 1
            assert await asyncio.gather(*asks) == [1] * 20
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT key FROM dead_letters") == [("p",)]


def test_given_an_execution_over_whose_end_the_log_takes_too_long_when_others_go_on_then_it_alone_is_parked(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(cart, counter, **SHORT) as pod, system.client() as client:
            refuse(system, "events", no_666("PERFORM pg_sleep(60);"))
            slow = {"item": "tea", "quantity": 666, "seconds": 0.01}
            poison = asyncio.ensure_future(client.ask(cart, "a", "put_slowly", slow, timeout_s=120))
            behind = asyncio.ensure_future(client.ask(cart, "a", "put", {"item": "tea"}, timeout_s=120))
            while not poison.done():
                await client.ask(counter, "other", Add(1), timeout_s=120)
            with pytest.raises(CallFailed) as caught:
                await poison
            assert caught.value.code == "bad_result"
            assert await behind == 1
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT key FROM dead_letters") == [("a",)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


# -- the connection ---------------------------------------------------------------------------------------------------


def test_given_a_careful_try_that_ends_with_the_connection_when_the_process_lives_then_it_does_not_count(
    system: System,
) -> None:
    dying = system.start_pod()

    async def scenario() -> None:
        async with system.client() as client:
            await client.ask(counter, "a", Add(1))
            refuse(system, "events", no_666("PERFORM pg_terminate_backend(pg_backend_pid());"))
            dying.kill()
            asking = asyncio.ensure_future(client.ask(counter, "a", Add(666), timeout_s=120))
            await asyncio.sleep(0.2)
            async with system.pod(counter) as pod:
                await until(lambda: pod.meter.log_losses > 0)
                let_pass(system)
                assert await asking == 667

    run(scenario())
    assert system.sql("SELECT max(probe_count) FROM partitions") == [(0,)]

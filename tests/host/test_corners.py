"""Where parts of the host meet: long logs with shared handlers, orders with loads, one batch with two minds."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import nats
import pytest
from msgspec import Struct

from runtime.entity import Entity, entity
from runtime.errors import CallFailed
from runtime.function import Function, function
from runtime.host.command import Command, from_timer
from runtime.host.items import Order
from runtime.host.ports import TimerRow
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.sent import MAX_SENT_BYTES
from runtime.turn import Turn
from schemas.address import Address, actor_id
from tests.host.test_versions import order
from tests.support.kinds import Add, counter, double
from tests.support.system import System, run, until

ONCE = RetryPolicy(max_attempts=1)

shelf = keyvalue("shelf", snapshot_every=0)


@shelf.write
def fill(ctx: KeyValue, first: int, count: int) -> None:
    for number in range(first, first + count):
        ctx.set(f"v{number}", number)


@shelf.shared
async def size(ctx: KeyValue) -> int:
    return len(list(ctx.names()))


def long_log(system: System) -> None:
    """Leaves a shelf `a` whose log is too long to be loaded inside a commit."""

    async def scenario() -> None:
        async with system.pod(shelf), system.client() as client:
            for part in range(3):
                await client.ask(shelf, "a", "fill", {"first": 300 * part, "count": 300})

    run(scenario())


# -- long logs --------------------------------------------------------------------------------------------------------


def test_given_a_shared_command_that_waited_for_a_load_when_it_is_done_then_its_key_is_free(system: System) -> None:
    long_log(system)

    async def scenario() -> None:
        async with system.pod(shelf) as pod, system.client() as client:
            assert await client.ask(shelf, "a", "size", {}) == 900
            await client.ask(shelf, "a", "fill", {"first": 900, "count": 1})
            assert all(not lane.held for lane in pod.lanes.values())

    run(scenario())


def test_given_a_cold_actor_with_a_long_log_when_a_person_pauses_it_then_it_pauses(system: System) -> None:
    long_log(system)

    async def scenario() -> None:
        async with system.pod(shelf) as pod:

            async def paused() -> bool:
                answer = await order(pod, "shelf", "a", "pause")
                error: Any = answer.get("error")
                assert error is None or error["code"] == "unavailable"  # while it is being loaded
                return error is None

            await until(paused)
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT count(*), max(seq) FROM events") == [(901, 901)]


def test_given_a_long_log_that_cannot_be_read_when_asked_then_the_answer_says_so(system: System) -> None:
    long_log(system)
    system.sql("UPDATE events SET type = 'Nonsense' WHERE seq = 700")

    async def scenario() -> str:
        async with system.pod(shelf), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(shelf, "a", "fill", {"first": 0, "count": 1})
            assert caught.value.code == "unreadable_log"
            return str(caught.value)

    assert "event 700" in run(scenario())
    assert system.sql("SELECT code FROM dead_letters") == [("unreadable_log",)]


# -- orders -----------------------------------------------------------------------------------------------------------


def test_given_a_dead_letter_when_several_replay_it_at_once_then_it_is_replayed_once(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            with pytest.raises(CallFailed):
                await client.ask(counter, "a", "boom", {})
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            answers = await asyncio.gather(*[order(pod, "counter", "a", "replay", dead_letter=letter) for _ in "1234"])
            assert sum(answer.get("error") is None for answer in answers) == 1
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT count(*) FROM events WHERE type = 'troupe.replayed'") == [(1,)]


def test_given_a_replayed_call_that_needs_no_key_when_it_is_done_then_none_is_held(system: System) -> None:
    fails = function(name="fails", retry=ONCE)(_fails)

    async def scenario() -> None:
        async with system.pod(fails) as pod, system.client() as client:
            with pytest.raises(CallFailed):
                await client.ask(fails, "a", "run", {})
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            await order(pod, "fails", "a", "replay", dead_letter=letter)
            await until(lambda: system.sql("SELECT count(*) FROM dead_letters") == [(2,)])
            await until(lambda: all(not lane.held for lane in pod.lanes.values()))

    run(scenario())


async def _fails() -> int:
    raise ValueError("as always")


def test_given_a_reason_that_no_row_can_hold_when_ordered_then_it_is_refused_and_the_pod_goes_on(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod:
            error: Any = (await order(pod, "counter", "a", "pause", reason="a\0b"))["error"]
            assert error["code"] == "invalid_arguments"
            assert pod.meter.log_losses == 0

    run(scenario())


@pytest.mark.parametrize(
    ("service", "question"),
    [
        ("actors", {"after_key": ["a\0", ""]}),
        ("session", {"session": "s", "after": {"1\0": 1}}),
        ("dead", {"kind": "a\0"}),
    ],
)
def test_given_a_nul_in_a_question_of_services_when_asked_then_it_is_a_bad_request_and_no_outage(
    system: System, service: str, question: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.service(service, question)
            assert caught.value.code == "bad_request"

    run(scenario())


def test_given_pause_resume_and_pause_in_one_batch_when_committed_then_the_key_is_paused(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            active = pod.activations.get(actor_id("default", "counter", "a"))
            assert active is not None
            answers: list[asyncio.Future[Any]] = []
            for what in ("pause", "resume", "pause"):
                answers.append(asyncio.get_running_loop().create_future())
                actor = actor_id("default", "counter", "a")
                pod.committer.put(Order(active.lane, actor, active.address, what, None, "", answers[-1]))
            assert [answer["paused"] for answer in await asyncio.gather(*answers)] == [True, False, True]

    run(scenario())
    assert system.sql("SELECT count(*) FROM paused") == [(1,)]


# -- one batch --------------------------------------------------------------------------------------------------------


def test_given_a_timer_cancelled_earlier_in_its_batch_when_committed_then_it_has_no_effect(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", "add_later", {"amount": 5, "after_s": 1000.0})
            ((fire_id, number),) = system.sql("SELECT fire_id, lane FROM timers")
            lane, address = pod.lanes[number], Address("default", "counter", "a")
            actor = actor_id(*address)
            pod.committer.put(Command(lane, address, "a", "forget", {"Troupe-Id": "cancels"}, b"{}"))
            row = TimerRow(actor, "later", number, 0.0, fire_id, *address, "add", "{}", b'{"amount":5}')
            pod.committer.put(from_timer(lane, row))
            await until(lambda: system.sql("SELECT count(*) FROM inbox WHERE command_id = 'cancels'") == [(1,)])
            assert await client.ask(counter, "a", Add(1)) == 1

    run(scenario())
    assert system.sql("SELECT count(*) FROM timers") == [(0,)]


# -- handlers ---------------------------------------------------------------------------------------------------------


@function(retry=ONCE)
async def cancels_itself() -> int:
    """Lets a cancellation of its own making out."""
    raise asyncio.CancelledError


@function(retry=ONCE)
async def exits() -> int:
    """Wants to end the process."""
    sys.exit(3)


@pytest.mark.parametrize("odd", [cancels_itself, exits], ids=["cancels", "exits"])
def test_given_an_async_handler_that_cancels_or_exits_when_run_then_it_is_parked_and_others_go_on(
    system: System, odd: Function
) -> None:
    async def scenario() -> None:
        async with system.pod(odd, double) as pod, system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(odd, "a", "run", {})
            assert caught.value.code == "handler_failed"
            assert await client.ask(double, "a", "run", {"x": 2}) == 4
            assert not pod.failed.is_set()

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters") == [(1,)]


def test_given_a_result_that_messagepack_cannot_hold_when_asked_for_in_it_then_the_answer_says_so(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(2**63))
            caller = await nats.connect(system.nats_url, inbox_prefix=b"_INBOX.default")
            inbox = caller.new_inbox()
            answers = await caller.subscribe(inbox)
            headers = {"Content-Type": "application/msgpack", "Troupe-Reply": inbox, "Troupe-Id": "big"}
            await caller.publish(
                "cmd.default.counter.a.add", msgspec.msgpack.encode({"amount": 2**63}), headers=headers
            )
            assert msgspec.msgpack.decode((await answers.next_msg(timeout=60)).data)["error"]["code"] == "too_large"
            await caller.close()
            assert await client.query(counter, "a", "value") == 2**64
            assert not pod.failed.is_set()

    run(scenario())


class Sent(Struct, frozen=True):
    size: int


def keep(state: dict[Any, Any], event: Sent) -> dict[Any, Any]:
    """A fold whose state has no JSON form."""
    return {("size", event.size): object()}


sender: Entity[dict[Any, Any]] = entity(
    "sender", initial={}, apply=keep, retry=RetryPolicy(max_attempts=3), snapshot_every=1
)


@sender.command
def send(state: dict[Any, Any], size: int, ctx: Turn) -> Sent:
    ctx.tell(counter, "a", "add", {"amount": "x" * size})
    return Sent(size)


canceller = keyvalue("canceller", retry=ONCE)


@canceller.write
def cancel(ctx: KeyValue, which: str) -> None:
    names: dict[str, Any] = {"number": 5, "surrogate": "\ud800", "nul": "a\0b", "plain": "a"}
    ctx.cancel(names[which])


def test_given_a_timers_name_that_no_row_can_hold_when_cancelled_then_the_command_is_parked_and_the_pod_goes_on(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(canceller) as pod, system.client() as client:
            for which in ("number", "surrogate", "nul"):
                with pytest.raises(CallFailed, match=r"TypeError|ValueError"):
                    await client.ask(canceller, "a", "cancel", {"which": which}, timeout_s=60)
            assert await client.ask(canceller, "a", "cancel", {"which": "plain"}) is None
            assert not pod.failed.is_set()
            assert pod.meter.log_losses == 0

    run(scenario())


def test_given_a_message_larger_than_any_when_told_then_the_command_is_parked(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(sender), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(sender, "a", "send", {"size": MAX_SENT_BYTES})
            assert caught.value.code == "bad_result"

    run(scenario())
    assert system.sql("SELECT count(*) FROM events WHERE type = 'Sent'") == [(0,)]


def test_given_a_state_without_json_form_when_a_snapshot_is_due_then_the_pod_goes_on_without(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(sender) as pod, system.client() as client:
            await client.ask(sender, "a", "send", {"size": 1})
            await until(lambda: "no snapshot of default/sender/a can be made" in caplog.text)
            await client.ask(sender, "a", "send", {"size": 1})
            assert not pod.failed.is_set()

    run(scenario())
    assert system.sql("SELECT count(*) FROM snapshots") == [(0,)]

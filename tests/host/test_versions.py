"""Pods of one group that serve different kinds, as a rolling update has them for a while; kinds that nobody serves."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec import Struct

from runtime.entity import entity
from runtime.function import function
from runtime.host.pod import Pod
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from schemas.address import encode_token, partition_of
from tests.support.kinds import Add, counter, double
from tests.support.system import System, run, until


class Rung(Struct, frozen=True):
    times: int = 1


def ring(state: int, event: Rung) -> int:
    """The fold of `alarm`."""
    return state + event.times


alarm = entity("alarm", initial=0, apply=ring)


@alarm.command(name="ring")
def alarm_ring(state: int) -> Rung:
    return Rung()


@alarm.command
def wind(state: int, ctx: Turn, after_s: float) -> None:
    """Rings when a timer fires."""
    ctx.schedule("alarm", "ring", after_s=after_s)


@function(retry=RetryPolicy(max_attempts=5, first_delay_s=3600.0, max_delay_s=3600.0))
async def stubborn(ctx: Turn, fails: int) -> int:
    """Fails so many times, an hour between them, then gives the attempt's number."""
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    return ctx.attempt


def hurry(system: System) -> None:
    """Lets what backs off be due soon, for whoever reads it anew."""
    system.sql("UPDATE pending SET due_at = now() + interval '0.5 seconds' WHERE state = 'backoff'")


async def trim(pod: Pod) -> int:
    """Trims as far as it goes now; gives how many messages CMD then holds."""
    await pod.housekeeping.move_anchors()
    await asyncio.sleep(0.05)
    await pod.housekeeping.trim()
    state = (await pod.connection.jetstream().stream_info("CMD")).state
    return int(state.messages)


async def order(pod: Pod, kind: str, key: str, what: str, **more: object) -> dict[str, object]:
    """What the actor's owner answers to a person's order."""
    token = encode_token(key)
    subject = f"q.{partition_of('default', kind, token, pod.settings.partitions)}.default.{kind}.{token}.$order"
    answer = await pod.connection.request(subject, msgspec.json.encode({"what": what, **more}), timeout=60)
    found: dict[str, object] = msgspec.json.decode(answer.data)
    return found


def test_given_a_retry_that_waits_when_its_lane_is_taken_anew_then_it_runs_when_it_is_due(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(stubborn) as pod, system.client() as client:
            asking = asyncio.ensure_future(client.ask(stubborn, "a", "run", {"fails": 1}, timeout_s=120))
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'backoff'") == [(1,)])
            hurry(system)
            for lane in list(pod.lanes.values()):
                pod.lose(lane)
            pod.leases.look_now()
            assert await asking == 2

    run(scenario())


def test_given_work_of_a_kind_that_a_pod_does_not_serve_when_it_takes_the_lane_then_both_go_on(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, stubborn):
                started = await client.submit(stubborn, "a", "run", {"fails": 1})
                await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'backoff'") == [(1,)])
            hurry(system)
            async with system.pod(counter) as old:
                assert await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(40)]) == [1] * 40
                assert not old.failed.is_set()
            async with system.pod(counter, stubborn):
                assert await started.result(timeout_s=60) == 2

    run(scenario())


def test_given_waiting_commands_of_a_kind_that_a_pod_does_not_serve_when_it_takes_the_lane_then_they_wait(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, alarm) as pod:
                await order(pod, "alarm", "a", "pause", by="ann", reason="test")
                waiting = await client.submit(alarm, "a", "ring")
                await until(lambda: system.sql("SELECT state FROM pending") == [("waiting",)])
            async with system.pod(counter) as old:
                assert await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(40)]) == [1] * 40
                assert not old.failed.is_set()
            async with system.pod(counter, alarm) as pod:
                await order(pod, "alarm", "a", "resume")
                await waiting.result(timeout_s=60)

    run(scenario())
    assert system.sql("SELECT count(*) FROM log WHERE type = 'Rung'") == [(1,)]


def test_given_a_timer_of_a_kind_that_a_pod_does_not_serve_when_it_is_due_then_it_waits_for_one_that_does(
    system: System,
) -> None:
    late = "SELECT count(*) FROM timers WHERE due_at < now() - interval '300 milliseconds'"

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, alarm):
                await client.ask(alarm, "a", "wind", {"after_s": 3600.0})
            system.sql("UPDATE timers SET due_at = now() - interval '0.2 seconds'")
            async with system.pod(counter):
                await until(lambda: system.sql(late) == [(1,)])
                # One that it does serve is fired, and no other with it.
                await client.ask(counter, "c", "add_later", {"amount": 1, "after_s": 0.05})
                await until(lambda: system.sql("SELECT type FROM log") == [("Added",)])
            async with system.pod(counter, alarm):
                await until(lambda: system.sql("SELECT type FROM log WHERE kind = 'alarm'") == [("Rung",)])

    run(scenario())


def test_given_a_kind_that_the_lanes_owner_does_not_serve_when_trimmed_then_its_commands_stay(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, double):
                await client.ask(counter, "a", Add(1))
            async with system.pod(counter, trim_lag_s=0.0) as old:
                await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(20)])
                waiting = await client.submit(double, "k", "run", {"x": 4})
                await asyncio.gather(*[client.ask(counter, f"l{n}", Add(1)) for n in range(20)])
                await until(lambda: _left(old, 21))
            async with system.pod(counter, double, trim_lag_s=0.0) as new:
                assert await waiting.result(timeout_s=60) == 8
                await until(lambda: _left(new, 1))

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


async def _left(pod: Pod, messages: int) -> bool:
    return await trim(pod) == messages


def test_given_a_kind_nobody_served_when_it_is_deployed_then_its_dead_letter_can_be_replayed(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, trim_lag_s=0.0) as pod:
                await client.tell("double", "a key. with more", "run", {"x": 2})
                await client.ask(counter, "a", Add(1))
                await until(lambda: _left(pod, 1))
            ((letter, key),) = system.sql("SELECT id, key FROM dead_letters")
            assert key == "a key. with more"
            async with system.pod(counter, double) as pod:
                assert (await order(pod, "double", key, "replay", dead_letter=letter)).get("error") is None
                await until(lambda: system.sql("SELECT result FROM inbox WHERE result = '4'") == [("4",)])

    run(scenario())


@pytest.mark.parametrize(
    "header",
    [b"Troupe-Id: a\x00b", b"Troupe-Id: " + b"x" * 9000, b"Nats-Sequence: 1", b"Nats-Subject: x", b"X: \xff\xfe",
     b"Troupe-Reply: somebody.elses"],
    ids=["nul", "long", "sequence", "subject", "bytes", "reply"],
)  # fmt: skip
def test_given_a_hostile_header_on_a_kind_nobody_serves_when_trimmed_then_it_is_a_dead_letter(
    system: System, header: bytes
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0) as pod, system.client() as client:
            pod.connection.post("cmd.default.nobody.k.go", b"{}", b"NATS/1.0\r\n" + header + b"\r\n\r\n")
            await pod.connection.flush()
            await client.ask(counter, "a", Add(1))
            await until(lambda: _left(pod, 1))

    run(scenario())
    ((kind, headers),) = system.sql("SELECT kind, headers FROM dead_letters")
    assert kind == "nobody"
    assert "somebody.elses" not in headers

"""What goes wrong with one key is no business of others, not even of those in its lane."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import Struct

from runtime.entity import entity
from runtime.policy import RetryPolicy
from schemas.address import partition_of
from tests.host.deadly import mine
from tests.host.test_versions import order
from tests.support.kinds import counter
from tests.support.system import System, run, until


class Done(Struct, frozen=True):
    pass


def count(state: int, event: Done) -> int:
    """The fold of `weary`."""
    return state + 1


IN_AN_HOUR = RetryPolicy(max_attempts=2, first_delay_s=3600.0, max_delay_s=3600.0)

weary = entity("weary", initial=0, apply=count, retry=IN_AN_HOUR)


@weary.command
def fail(state: int) -> Done:
    raise ValueError("not now")


@weary.command
def do(state: int) -> Done:
    return Done()


def neighbour(system: System) -> str:
    """Another key of kind `weary` in the lane of `a`."""
    lane = partition_of("default", "weary", "a", system.partitions)
    keys = map(str, range(100))
    return next(key for key in keys if partition_of("default", "weary", key, system.partitions) == lane)


def test_given_a_key_that_backs_off_for_long_when_another_of_its_lane_is_asked_then_it_answers_at_once(
    system: System,
) -> None:
    other = neighbour(system)

    async def scenario() -> None:
        async with system.pod(weary), system.client() as client:
            await client.tell(weary, "a", "fail")
            await until(lambda: system.sql("SELECT state FROM pending") == [("backoff",)])
            behind = asyncio.ensure_future(client.ask(weary, "a", "do", timeout_s=300))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
            await client.ask(weary, other, "do", timeout_s=60)
            assert not behind.done()
            behind.cancel()

    run(scenario())
    assert system.sql("SELECT key FROM log") == [(other,)]


def test_given_a_run_that_waits_and_one_that_fails_when_others_of_their_lane_are_asked_then_they_are_answered_meanwhile(
    system: System, tmp_path: Path
) -> None:
    system.partitions = 1
    path = tmp_path / "go on"

    async def scenario() -> None:
        async with system.pod(mine, weary, counter), system.client() as client:
            waits = asyncio.ensure_future(client.ask(mine, "waits", "hold", {"path": str(path)}, timeout_s=300))
            await until(lambda: system.sql("SELECT state FROM pending WHERE kind = 'mine'") == [("running",)])
            behind = asyncio.ensure_future(client.ask(mine, "waits", "step", timeout_s=300))
            await client.tell(weary, "fails", "fail")
            await client.tell(counter, "fails", "boom")
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE kind = 'weary'") == [(1,)])
            for n in range(50):
                assert await client.ask(mine, f"k{n}", "step", timeout_s=60) == 1
            await until(lambda: system.sql("SELECT key FROM dead_letters") == [("fails",)])
            assert not waits.done() and not behind.done()
            path.write_text("")
            assert (await waits, await behind) == ("held", 1)

    run(scenario())


def test_given_an_actor_that_is_paused_when_another_of_its_lane_is_asked_then_it_answers_at_once(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(weary) as pod, system.client() as client:
            await order(pod, "weary", "a", "pause", by="ann", reason="test")
            behind = asyncio.ensure_future(client.ask(weary, "a", "do", timeout_s=300))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(1,)])
            await client.ask(weary, neighbour(system), "do", timeout_s=60)
            assert not behind.done()
            behind.cancel()

    run(scenario())


def test_given_an_actor_that_is_paused_when_its_lane_is_taken_anew_then_it_waits_still(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(weary) as pod:
                await order(pod, "weary", "a", "pause", by="ann", reason="test")
            async with system.pod(weary) as pod:
                waiting = asyncio.ensure_future(client.ask(weary, "a", "do", timeout_s=300))
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(1,)])
                await order(pod, "weary", "a", "resume")
                await waiting

    run(scenario())


def test_given_a_dead_letter_when_it_is_replayed_then_its_attempts_begin_anew(system: System) -> None:
    parked = "SELECT attempts FROM dead_letters ORDER BY id"

    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.tell(counter, "a", "flaky", {"fails": 3})
            await until(lambda: system.sql(parked) == [(3,)])
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            assert "error" not in await order(pod, "counter", "a", "replay", dead_letter=letter)
            await until(lambda: len(system.sql(parked)) == 2 or system.sql("SELECT 1 FROM log WHERE type = 'Added'"))

    run(scenario())
    assert system.sql(parked) == [(3,), (3,)]

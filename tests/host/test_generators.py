"""Generators on real servers: each value reaches the caller once and in order, whatever dies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runtime.errors import CallFailed, Rejected
from runtime.function import function
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.support.generators import counting, refusing
from tests.support.system import System, run, until

MODULE = "tests.support.generators"
YIELDED = (
    "SELECT coalesce(sum(json_array_length(payload->'result')), 0) FROM log "
    "WHERE type = 'troupe.step' AND payload->>'step' = '$yield'"
)


def yielded(system: System, count: int) -> bool:
    return system.sql(YIELDED) == [(count,)]


@pytest.mark.parametrize("function", ["counting", "blocking"])
def test_given_a_generator_whose_pod_is_killed_half_way_then_each_value_comes_once_and_in_order(
    system: System, tmp_path: Path, function: str
) -> None:
    pods = [system.start_pod(MODULE)]
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client, system.client() as other:
            question = {"path": str(path), "values": 1000, "stop_at": 500}
            run = await client.submit(function, "k", "run", question, id="r", session="watched")

            async def read(since: int) -> list[int]:
                numbered = [one async for one in client.values(run, after=since, type=int)]
                assert [number for number, _ in numbered] == list(range(since, 1000))
                return [value for _, value in numbered]

            reading = asyncio.ensure_future(read(0))
            await until(partial(yielded, system, 500))
            assert not reading.done()
            pods[0].kill()
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            Path(f"{path}.go").touch()
            assert await reading == list(range(1000))
            assert await run.result(int) == 1000
            # Whoever comes later, or again, reads the same; in the middle, too.
            assert await read(990) == list(range(990, 1000))
            again = other.stream(function, "k", "run", question, id="r", type=int)
            assert [value async for value in again] == list(range(1000))

    run(scenario())
    assert yielded(system, 1000)
    if function == "blocking":  # it went on by itself: what was committed was not computed again
        numbers = path.read_text().split()
        assert len(numbers) < 1000 + 500
    # The session's stream shows the same values.
    assert system.sql("SELECT count(*) FROM log WHERE session = 'watched'") == system.sql("SELECT count(*) FROM log")


def test_given_a_generator_that_fails_when_tried_again_then_its_values_are_not_yielded_twice(
    system: System, tmp_path: Path
) -> None:
    system.start_pod(MODULE)

    async def scenario() -> None:
        async with system.client() as client:
            question = {"path": str(tmp_path / "notes"), "values": 5, "fails": 2}
            assert [value async for value in client.stream(counting, "k", question, type=int)] == [0, 1, 2, 3, 4]
            refused = client.stream(refusing, "k", {})
            assert [await anext(refused), await anext(refused)] == ["a", "b"]
            with pytest.raises(Rejected, match="enough"):
                await anext(refused)

    run(scenario())
    assert (tmp_path / "notes").read_text().split("\n")[:3] == ["attempt 1", "attempt 2", "attempt 3"]


def test_given_a_generator_in_a_thread_that_never_ends_when_its_time_is_over_or_it_is_terminated_then_it_ends(
    system: System,
) -> None:
    ended: list[str] = []

    def numbers(ctx: Turn) -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.append(ctx.command_id)

    timed = function(name="timed", timeout_s=0.5, retry=RetryPolicy(max_attempts=1))(numbers)
    endless = function(name="endless", timeout_s=None)(numbers)

    async def scenario() -> None:
        async with system.pod(timed, endless), system.client() as client:
            first = await client.submit(timed, "k", {}, id="timed")
            with pytest.raises(CallFailed, match="time-out"):
                await first.result()
            second = await client.submit(endless, "k", {}, id="endless")
            await until(lambda: system.sql("SELECT 1 FROM log WHERE command_id = 'endless' LIMIT 1"))
            await second.terminate("enough")
            await until(lambda: ended == ["timed", "endless"])

    run(scenario())

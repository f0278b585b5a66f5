"""Generators without servers: values are kept in order, once, in batches, and an attempt goes on behind the last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from runtime import BadDefinition, CallFailed, Function, RetryPolicy, Turn, World, function
from runtime.errors import BadResult
from runtime.journal import Entry
from runtime.yields import MOST_VALUES, Yields, divided, values_of

QUICK = RetryPolicy(max_attempts=3, first_delay_s=0)


def yielded(world: World, id: str = "r") -> list[bytes]:
    numbered = values_of(world.log, id)
    assert [number for number, _ in numbered] == list(range(len(numbered)))
    return [bytes(value) for _, value in numbered]


def test_given_a_generator_when_run_then_its_values_are_in_the_log_and_its_result_is_their_number() -> None:
    @function
    async def words(text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word

    world = World(words)
    assert world.ask(words, "k", {"text": "a b c"}, id="r") == 3
    assert yielded(world) == [b'"a"', b'"b"', b'"c"']
    method = words.methods["run"].describe()
    assert (method.yields, method.result) == ({"type": "string"}, {"type": "integer"})


def test_given_a_plain_generator_when_run_then_it_has_one_thread_of_its_own() -> None:
    threads = set()

    @function
    def numbers(count: int) -> Iterator[int]:
        for number in range(count):
            threads.add(threading.current_thread())
            yield number

    world = World(numbers)
    assert world.ask(numbers, "k", {"count": 3 * MOST_VALUES}, id="r") == 3 * MOST_VALUES
    assert len(yielded(world)) == 3 * MOST_VALUES
    assert len(threads) == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("resumes", [False, True])
def test_given_a_generator_that_fails_when_tried_again_then_no_value_comes_twice(resumes: bool) -> None:
    begun: list[int] = []

    @function(retry=QUICK)
    async def flaky(ctx: Turn) -> AsyncIterator[int]:
        begin = ctx.yielded() if resumes else 0
        begun.append(begin)
        for number in range(begin, 6):
            if number == 2 * ctx.attempt:
                raise ValueError(f"attempt {ctx.attempt} fails")
            yield number

    world = World(flaky)
    assert world.ask(flaky, "k", {}, id="r") == 6
    assert yielded(world) == [b"%d" % number for number in range(6)]
    assert begun == ([0, 2, 4] if resumes else [0, 0, 0])


def test_given_a_generator_that_takes_steps_when_tried_again_then_each_step_ran_once() -> None:
    ran: list[int] = []

    def note(number: int) -> int:
        ran.append(number)
        return number

    @function(retry=QUICK)
    async def stepping(ctx: Turn) -> AsyncIterator[int]:
        for number in range(4):
            yield await ctx.step("one", note, number)
        if ctx.attempt == 1:
            raise ValueError("again")

    world = World(stepping)
    assert world.ask(stepping, "k", {}, id="r") == 4
    assert (ran, yielded(world)) == ([0, 1, 2, 3], [b"0", b"1", b"2", b"3"])


def test_given_a_value_of_the_wrong_type_when_yielded_then_it_is_parked_with_what_came_before() -> None:
    @function
    async def wrong() -> AsyncIterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]  # that is the point

    world = World(wrong)
    with pytest.raises(CallFailed, match="bad_result"):
        world.ask(wrong, "k", {}, id="r")
    assert yielded(world) == [b"1"]


def test_given_a_generator_with_another_annotation_when_defined_then_it_is_refused() -> None:
    def wrong() -> int:  # type: ignore[misc]  # that is the point
        yield 1

    with pytest.raises(BadDefinition, match="AsyncIterator"):
        function(wrong)


class Slow:
    """Keeps entries, each once it is let go on."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.free = asyncio.Event()

    async def confirm(self) -> None:
        """Nobody else is there."""

    async def keep(self, entry: Entry) -> None:
        """Waits, then keeps."""
        await self.free.wait()
        self.entries.append(entry)


def test_given_a_generator_that_is_faster_than_the_log_then_it_waits_and_its_batches_are_bounded() -> None:
    async def scenario() -> None:
        slow = Slow()
        out = Yields("r", 1, slow, 0)

        async def generate() -> None:
            for number in range(5 * MOST_VALUES):
                await out.put(b"%d" % number)

        generating = asyncio.ensure_future(generate())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not generating.done()
        assert out.kept == 0
        slow.free.set()
        await generating
        assert await out.flush() == 5 * MOST_VALUES
        assert all(len(msgspec.json.decode(entry.result)) <= MOST_VALUES for entry in slow.entries)
        assert divided(slow.entries) == ([], 5 * MOST_VALUES)

    asyncio.run(scenario())


def test_given_a_log_that_cannot_keep_it_when_yielded_then_the_generator_hears_it() -> None:
    class Full(Slow):
        async def keep(self, entry: Entry) -> None:
            raise BadResult("the log cannot hold it")

    async def scenario() -> None:
        out = Yields("r", 1, Full(), 0)

        async def generate() -> None:
            for _ in range(3 * MOST_VALUES):
                await out.put(b"1")

        with pytest.raises(BadResult, match="cannot hold it"):
            await generate()
        out = Yields("r", 1, Full(), 0)
        await out.put(b"1")
        with pytest.raises(BadResult, match="cannot hold it"):
            await out.flush()

    asyncio.run(scenario())


def test_given_a_generator_when_called_as_one_then_it_is_one() -> None:
    @function
    def numbers() -> Iterator[int]:
        yield from range(3)

    assert isinstance(numbers, Function)
    assert list(numbers()) == [0, 1, 2]


def test_given_a_thread_that_goes_on_when_the_attempt_is_over_then_flushing_ends_and_it_hears_it() -> None:
    class Keeps:
        """While it commits, the thread yields the next value."""

        kept = 0

        async def confirm(self) -> None: ...

        async def keep(self, entry: Entry) -> None:
            self.kept += 1
            if self.kept < 10:
                with pytest.raises(asyncio.CancelledError, match="over"):
                    await values.put(b"1")

    keeper = Keeps()
    values = Yields("r", 1, keeper, 0)

    async def scenario() -> int:
        await values.put(b"0")
        values.end()
        return await values.flush()

    assert asyncio.run(scenario()) == 1

"""What a handler's steps ask of the pod: when its fence, and how answers come back from one thread to another.

And how the journals of those that start anew are read.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple

import pytest

from runtime.clock import ManualClock
from runtime.errors import Cancelled
from runtime.function import function
from runtime.host.command import from_pending
from runtime.host.crossing import Crossing
from runtime.host.items import Start, Step
from runtime.host.journals import Journal, Journals
from runtime.host.ports import PendingRow
from runtime.journal import Entry
from runtime.mail import CANCEL, Message, Said
from runtime.postgres.journals import FEW, PAGE
from runtime.postgres.migrate import migrate
from runtime.postgres.reading import PostgresReader
from runtime.turn import Turn
from schemas.address import Address, actor_id
from tests.host.test_regressions import lane_of
from tests.support.system import System, run

Arguments = TypeVarTuple("Arguments")

ADDRESS = Address("default", "nothing", "a")


@function
async def nothing() -> None:
    """Does nothing."""


class Silent:
    """A log without a journal."""

    async def journal(self, actor: str, partition: int, command_id: str, after: int = 0) -> list[tuple[int, str, str]]:
        """See JournalSource."""
        raise AssertionError("a first attempt has nothing to read")


class Attempt:
    """An attempt whose handler does what a test gives it, in an event loop of another thread."""

    def __init__(self, *, begun: bool = False) -> None:
        self.begun = begun
        self.put: list[Step] = []
        self.certain = True
        self.lane = lane_of(1)
        self.loop = asyncio.new_event_loop()
        self.journal: Journal

    async def __aenter__(self) -> Attempt:
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        actor = actor_id(*ADDRESS)
        row = PendingRow(1, actor, "run-1", *ADDRESS, "run", 1, "running", False, 1, None, "{}", b"")
        command, turn = from_pending(self.lane, row), Turn(ADDRESS, "run-1", 0, 0.0)
        start = Start(command, nothing, None, turn, None, 1, holds=False, isolated=False, known=False)
        start.begun = self.begun
        journals = Journals(Silent(), self.put.append, ManualClock(), 0.0, lambda: self.certain, 1)
        self.journal = await journals.open(start)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        await asyncio.to_thread(self.thread.join)
        self.loop.close()

    def handler(self, job: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Runs a handler."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.journal.through(job), self.loop))

    async def asked(self, count: int = 1) -> list[Step]:
        """Returns when so many items are in the pipeline."""
        while len(self.put) < count:
            await asyncio.sleep(0.001)
        return self.put


def entry(step: str) -> Entry:
    return Entry("run-1", step, 0, 1)


def test_given_a_lease_that_goes_on_when_a_step_is_taken_then_no_fence_is_asked() -> None:
    async def scenario() -> None:
        async with Attempt() as attempt:
            await attempt.handler(attempt.journal.confirm())
            assert attempt.put == []

    run(scenario())


@pytest.mark.parametrize("begun", [True, False])
def test_given_an_attempt_of_which_nothing_is_recorded_when_it_is_cancelled_then_it_hears_it_only_if_it_had_begun(
    begun: bool,
) -> None:
    heard: list[str] = []

    async def handler() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def scenario() -> None:
        async with Attempt(begun=begun) as attempt:
            message = Message("run-1", "cancel-1", "enough")
            attempt.journal.mail.post(Said(1, CANCEL, message))
            with pytest.raises(Cancelled):
                await attempt.handler(handler())

    run(scenario())
    assert heard == (["cancelled"] if begun else [])


@pytest.mark.parametrize("answer", ["it is ours", "it is another's"])
def test_given_a_lease_that_may_be_over_when_a_step_is_taken_then_the_fence_says_whose_the_lane_is(answer: str) -> None:
    async def scenario() -> None:
        async with Attempt() as attempt:
            attempt.certain = False
            job = attempt.handler(attempt.journal.confirm())
            asked = asyncio.ensure_future(attempt.asked())
            await asyncio.wait([job, asked], return_when=asyncio.FIRST_COMPLETED)
            assert not job.done(), "the fence was not asked"
            (step,) = asked.result()
            assert (step.entry, step.lane, job.done()) == (None, attempt.lane, False)
            if answer == "it is ours":
                step.answered.set_result(None)
                await job
            else:
                step.answered.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await job

    run(scenario())


@pytest.mark.parametrize("how", ["lost", "ended"])
def test_given_an_attempt_that_is_over_then_it_takes_and_records_no_step(how: str) -> None:
    async def scenario() -> None:
        async with Attempt() as attempt:
            if how == "lost":
                attempt.lane.lose()
            else:
                await attempt.journal.settle()
            for job in (attempt.journal.confirm(), attempt.journal.keep(entry("one"))):
                with pytest.raises(asyncio.CancelledError):
                    await attempt.handler(job)
            assert attempt.put == []

    run(scenario())


def test_given_a_step_that_is_being_committed_when_its_handler_is_stopped_then_the_end_waits_for_it() -> None:
    async def scenario() -> None:
        async with Attempt() as attempt:
            job = attempt.handler(attempt.journal.keep(entry("one")))
            (step,) = await attempt.asked()
            assert attempt.journal.committing
            job.cancel()
            settled = asyncio.ensure_future(attempt.journal.settle())
            await asyncio.wait([job])
            await asyncio.sleep(0)
            assert not settled.done()
            step.answered.set_result(None)
            await settled
            assert not attempt.journal.committing

    run(scenario())


def test_given_what_the_log_does_not_hold_when_a_step_is_kept_then_its_handler_is_told() -> None:
    async def scenario() -> None:
        async with Attempt() as attempt:
            job = attempt.handler(attempt.journal.keep(entry("one")))
            (step,) = await attempt.asked()
            step.answered.set_exception(ValueError("not this one"))
            step.answered.set_result(None)  # whoever answers second is too late
            with pytest.raises(ValueError, match="not this one"):
                await job

    run(scenario())


def test_given_many_things_at_once_when_they_cross_over_then_all_come_in_order_and_the_loop_is_woken_once() -> None:
    wakings: list[object] = []

    class Counting(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(
            self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
        ) -> asyncio.Handle:
            wakings.append(callback)
            return super().call_soon_threadsafe(callback, *args, context=context)

    async def scenario() -> None:
        here, there = asyncio.get_running_loop(), Counting()
        came: asyncio.Queue[int] = asyncio.Queue()

        def take(number: int) -> None:
            here.call_soon_threadsafe(came.put_nowait, number)

        crossing: Crossing[int] = Crossing(here, there, take)
        thread = threading.Thread(target=there.run_forever)
        thread.start()
        for numbers in (range(5), range(5, 6)):
            for number in numbers:
                crossing.put(number)
            assert [await came.get() for _ in numbers] == [*numbers]
        assert len(wakings) == 2
        there.call_soon_threadsafe(there.stop)
        await asyncio.to_thread(thread.join)
        there.close()
        crossing.put(6)  # who is gone hears nothing, and nobody minds
        await asyncio.sleep(0)

    run(scenario())


def test_given_many_journals_when_they_are_read_at_once_then_each_is_whole_and_its_own(system: System) -> None:
    lengths = {"none": 0, "one": 1, "few": FEW, "long": FEW + PAGE + 1}
    actors = {name: f"{number:032x}" for number, name in enumerate(lengths, 1)}

    async def scenario() -> None:
        await migrate(system.postgres_url)
        for name, length in lengths.items():
            system.sql("INSERT INTO actors VALUES (%s, 't', 'k', %s, 1, 0)", actors[name], name)
            system.sql(
                "INSERT INTO events (code_version, actor, seq, lane, position, partition, version, epoch, tenant, type,"
                " command_id, payload) SELECT 'v', %s, n, %s, n, 0, 1, 1, 't',"
                " CASE n %% 2 WHEN 0 THEN 'troupe.step' ELSE 'Other' END,"
                " CASE n %% 4 WHEN 0 THEN 'mine' ELSE 'else' END,"
                " to_json(n) FROM generate_series(1, 4 * %s) n",
                actors[name],
                int(actors[name], 16),
                length,
            )
        reader = PostgresReader(system.postgres_url, 1)
        names = [*lengths, "one", *lengths]
        gone = asyncio.ensure_future(reader.journal(actors["one"], 0, "mine"))
        reading = [asyncio.ensure_future(reader.journal(actors[name], 0, "mine")) for name in names]
        await asyncio.sleep(0)
        gone.cancel()
        for name, events in zip(names, await asyncio.gather(*reading), strict=True):
            assert events == [(4 * n, "troupe.step", str(4 * n)) for n in range(1, lengths[name] + 1)]
        assert await reader.journal(actors["one"], 0, "nobody's") == []
        assert await reader.journal(actors["few"], 0, "mine", 4 * (FEW - 1)) == [(4 * FEW, "troupe.step", str(4 * FEW))]
        await reader.close()

    run(scenario())

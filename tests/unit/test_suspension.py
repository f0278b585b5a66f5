"""When an attempt may be suspended: only if it has heard all that was said, and does nothing but wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from runtime.activity import Activity, CountingLoop, outside
from runtime.clock import system_clock
from runtime.errors import Cancelled
from runtime.flow.paced import PacedSteps
from runtime.flow.sending import SentInTasks
from runtime.journal import Entry, Steps
from runtime.mail import ANSWER, CANCEL, SIGNAL, Mail, Message, Said
from runtime.suspension import Suspended, Suspension

LONG_S = 3600.0


class Kept(SentInTasks):
    """A journal that is a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def confirm(self) -> None:
        """It is nobody else's."""

    async def keep(self, entry: Entry) -> None:
        """Keeps it."""
        self.entries.append(entry)


class Attempt:
    """One attempt at a run, looked at when the test says so."""

    def __init__(self, handler: Callable[[Steps, Mail], Awaitable[Any]], of: type[Steps] = Steps) -> None:
        steps = of("default/kind/key", "key", "run", 1, Kept())
        self.mail = Mail(steps, time.time)
        self.suspension = Suspension(steps, self.mail, LONG_S)
        self.mail.open()
        self.task = asyncio.ensure_future(self.suspension.through(steps.through(handler(steps, self.mail))))

    async def waits(self) -> None:
        """Returns when it waits, and was seen waiting."""
        while not self.mail.waiting:
            await asyncio.sleep(0)
        self.suspension._look()

    def say(self, what: str, name: str) -> None:
        """Says something, which the handler hears of in a later turn of its loop."""
        self.mail.post(Said(1, what, Message("run", "id", name, msgspec.Raw(b"1"))))


async def waiting(steps: Steps, mail: Mail) -> Any:
    return await mail.signal("go", int, None)


class Noting(Steps):
    """Answers are entries, as a workflow's are: an attempt that starts anew asks again."""

    answers_are_entries = True


def on_loop(job: Callable[[], Awaitable[None]]) -> None:
    """Runs a test on a loop of handlers."""

    async def main() -> None:
        await job()

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(main())


def test_given_a_handler_that_waits_when_it_is_seen_again_then_it_is_suspended() -> None:
    async def scenario() -> None:
        attempt = Attempt(waiting)
        await attempt.waits()
        assert not attempt.task.done()
        attempt.suspension._look()
        with pytest.raises(Suspended) as caught:
            await attempt.task
        assert caught.value.due == float("inf")
        assert not caught.value.has_news
        attempt.say(SIGNAL, "go")
        assert caught.value.has_news

    on_loop(scenario)


def test_given_a_question_that_the_broker_has_not_stored_then_who_asks_is_suspended_only_once_it_has() -> None:
    async def scenario() -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def asking(steps: Steps, mail: Mail) -> Any:
            return await mail.answer("question", 0, stored, 2 * LONG_S)

        attempt = Attempt(asking, Noting)
        while not attempt.mail._waiters:
            await asyncio.sleep(0)
        for _ in range(3):
            attempt.suspension._look()
        assert attempt.suspension._suspended is None
        stored.set_result(None)
        for _ in range(100):
            await asyncio.sleep(0)
            attempt.suspension._look()
        with pytest.raises(Suspended):
            await attempt.task

    on_loop(scenario)


@pytest.mark.parametrize("heard", [False, True])
def test_given_a_signal_that_the_handler_has_not_taken_yet_then_it_is_not_suspended(heard: bool) -> None:
    async def scenario() -> None:
        attempt = Attempt(waiting)
        await attempt.waits()
        attempt.say(SIGNAL, "go")
        if heard:
            attempt.mail._sort()
        attempt.suspension._look()
        attempt.suspension._look()
        assert await attempt.task == 1

    on_loop(scenario)


async def timed(steps: Steps, mail: Mail) -> Any:
    async with asyncio.timeout(0.05):
        return await mail.signal("go", int, None)


def test_given_a_time_out_of_the_handlers_that_is_due_and_has_not_come_then_it_is_not_suspended() -> None:
    async def scenario() -> None:
        attempt = Attempt(timed)
        await attempt.waits()
        time.sleep(0.1)  # the loop is late
        attempt.suspension._look()
        attempt.suspension._look()
        with pytest.raises(TimeoutError):
            await attempt.task

    on_loop(scenario)


def test_given_a_time_out_of_the_handlers_that_has_just_come_then_it_is_not_suspended_before_it_takes_effect() -> None:
    async def scenario() -> None:
        attempt = Attempt(timed)
        await attempt.waits()
        asyncio.get_running_loop().call_later(0.07, attempt.suspension._look, context=outside())
        time.sleep(0.1)  # both are due in the same turn of the loop
        with pytest.raises(TimeoutError):
            await attempt.task

    on_loop(scenario)


@pytest.mark.parametrize("heard", [False, True])
def test_given_a_cancellation_that_the_handler_is_not_told_yet_then_it_is_not_suspended(heard: bool) -> None:
    async def scenario() -> None:
        attempt = Attempt(waiting)
        await attempt.waits()
        attempt.say(CANCEL, "rain")
        if heard:
            attempt.mail._sort()
        attempt.suspension._look()
        with pytest.raises(Cancelled, match="rain"):
            await attempt.task

    on_loop(scenario)


def test_given_a_question_without_an_answer_then_it_is_not_suspended_until_that_is_there() -> None:
    async def handler(steps: Steps, mail: Mail) -> Any:
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        asking = asyncio.ensure_future(mail.answer("question", 0, sent, 10 * LONG_S))
        value = await mail.signal("go", int, None)
        await asking
        return value

    async def scenario() -> None:
        attempt = Attempt(handler)
        while len(attempt.mail.waiting) < 2:
            await asyncio.sleep(0)
        for _ in range(3):
            attempt.suspension._look()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not attempt.task.done()
        attempt.mail.post(Said(1, ANSWER, Message("run", "question")))
        for _ in range(100):
            await asyncio.sleep(0)
            attempt.suspension._look()
        with pytest.raises(Suspended):
            await attempt.task

    on_loop(scenario)


def test_given_a_workflow_whose_code_has_just_ended_when_it_is_looked_at_then_it_does_not_wait() -> None:
    async def scenario() -> None:
        steps = PacedSteps("default/kind/key", "key", "run", 1, Kept(), began=0.0, clock=system_clock)
        mail = Mail(steps, time.time)
        mail.open()
        seen: list[float | None] = []

        async def code() -> int:
            await mail.sleep(0)
            # Before whoever waits for the code hears of its end.
            asyncio.get_running_loop().call_soon(lambda: seen.append(mail.waits_until()), context=outside())
            return 1

        assert await steps.through(code()) == 1
        assert seen == [None]

    on_loop(scenario)


def test_given_answers_before_their_questions_when_a_run_continues_as_new_then_they_are_kept_for_it_once() -> None:
    async def scenario() -> None:
        def mail(*answered: str) -> Mail:
            made = Mail(Steps("default/kind/key", "key", "run", 1, Kept()), time.time)
            made.open()
            for seq, id in enumerate(answered, 1):
                made.post(Said(seq, ANSWER, Message("run", id)))
            made._sort()
            return made

        known = mail("early", "recorded")
        known.asks("recorded")
        known.asks("asked")
        known.post(Said(3, ANSWER, Message("run", "asked")))
        known._sort()
        assert known.untaken() == (3, [1])
        again = mail()
        again.since = 3
        again.post(Said(1, ANSWER, Message("run", "early")))
        again._sort()
        assert again.has_answer("early")
        assert again.untaken() == (1, [])

    on_loop(scenario)


def test_given_a_wait_that_ends_soon_then_it_is_not_suspended() -> None:
    async def scenario() -> None:
        attempt = Attempt(lambda _, mail: mail.sleep(0.2))
        await attempt.waits()
        attempt.suspension._look()
        await attempt.task

    on_loop(scenario)


def test_given_tasks_and_times_of_a_run_then_they_are_counted_and_those_outside_are_not() -> None:
    async def scenario() -> None:
        activity, loop = Activity(), asyncio.get_running_loop()
        activity.begin()
        assert not activity.goes_on(())
        nap = loop.create_task(asyncio.sleep(LONG_S), context=outside())
        await asyncio.sleep(0)
        assert not activity.goes_on(())
        beside = asyncio.ensure_future(asyncio.Event().wait())
        assert activity.goes_on(())
        assert not activity.goes_on([beside])
        time = loop.call_later(LONG_S, print)
        assert activity.goes_on([beside])
        time.cancel()
        assert not activity.goes_on([beside])
        await activity.end()
        assert beside.cancelled()
        nap.cancel()

    on_loop(scenario)


def test_given_many_times_that_are_over_then_they_are_forgotten() -> None:
    async def scenario() -> None:
        activity, loop = Activity(), asyncio.get_running_loop()
        activity.begin()
        for _ in range(10_000):
            loop.call_later(LONG_S, print).cancel()
        assert len(activity) < 100

    on_loop(scenario)

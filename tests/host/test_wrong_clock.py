"""A pod whose machine's wall clock is wrong, or jumps: what is due and what has expired is told by the log's clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runtime.clock import LogTime, ManualClock, SystemClock
from runtime.host.pod import Pod
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

MINUTES_S = 300.0


class WrongClock(SystemClock):
    """The machine's clock, `off` seconds away."""

    __slots__ = ("off",)

    def __init__(self) -> None:
        super().__init__()
        self.off = 0.0
        self.now = lambda: time.time() + self.off


@asynccontextmanager
async def pod_with(system: System, clock: WrongClock) -> AsyncIterator[Pod]:
    pod = Pod(system.settings(), [counter], clock)
    await pod.start()
    try:
        await until(lambda: any(lane.feed.reading for lane in pod.lanes.values()))
        yield pod
    finally:
        await pod.stop()


@pytest.mark.parametrize("off", [MINUTES_S, -MINUTES_S])
def test_given_timers_when_the_pods_wall_clock_jumps_then_they_fire_when_they_are_due_and_not_before(
    system: System, off: float
) -> None:
    async def scenario() -> None:
        clock = WrongClock()
        async with pod_with(system, clock), system.client() as client:
            await client.ask(counter, "a", "add_later", {"amount": 1, "after_s": 0.5, "name": "soon"})
            await client.ask(counter, "a", "add_later", {"amount": 10, "after_s": MINUTES_S / 2, "name": "late"})
            clock.off = off
            await client.ask(counter, "a", "add_later", {"amount": 100, "after_s": 0.6, "name": "also-soon"})
            await until(lambda: system.sql("SELECT name FROM timers") == [("late",)])
            assert await client.query(counter, "a", "value") == 101

    run(scenario())


@pytest.mark.parametrize("off", [MINUTES_S, -MINUTES_S])
def test_given_a_pod_with_a_wrong_wall_clock_when_a_command_has_a_deadline_then_it_is_that_of_everybodys_clock(
    system: System, off: float
) -> None:
    async def scenario() -> None:
        clock = WrongClock()
        clock.off = off
        async with pod_with(system, clock), system.client() as client:
            assert await client.ask(counter, "a", Add(1), deadline_s=60) == 1
            stale = client.ask(counter, "a", Add(1), deadline_s=-60)
            with pytest.raises(Exception, match="deadline"):
                await stale

    run(scenario())


def test_given_the_logs_word_when_it_differs_by_more_than_the_answer_took_then_it_is_believed() -> None:
    own = ManualClock(at=1000.0)
    clock = LogTime(own)
    assert clock.now() == 1000.0
    clock.heard(4000.0, asked=1000.0, answered=1000.0)
    assert clock.now() == 4000.0
    own.advance(10)
    assert clock.now() == 4010.0
    clock.heard(4009.9, asked=1009.0, answered=1010.0)  # it was said a second ago at most: no news
    assert clock.now() == 4010.0
    clock.heard(4020.0, asked=1009.9, answered=1010.1)
    assert clock.now() == 4020.0
    assert clock.monotonic() == 1010.0


def test_given_pods_when_they_are_asked_then_they_tell_the_time_of_the_log(system: System) -> None:
    async def scenario() -> None:
        clock = WrongClock()
        clock.off = MINUTES_S
        async with pod_with(system, clock) as pod:
            there = system.sql("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]
            assert abs(pod.clock.now() - there) < MINUTES_S / 2

    run(scenario())

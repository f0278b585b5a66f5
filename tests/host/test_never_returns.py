"""A decision that never returns: its caller is told which one, and nothing else is held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from msgspec import Struct

from runtime.entity import entity
from runtime.errors import CallFailed
from runtime.host.pod import Pod
from runtime.telemetry.pod_measures import PodMeasures
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

released = threading.Event()


class Turned(Struct, frozen=True):
    pass


def turn(state: int, event: Turned) -> int:
    return state + 1


knob = entity("knob", initial=0, apply=turn)


@knob.command
def turn_once(state: int) -> Turned:
    return Turned()


@knob.command
def jam(state: int) -> Turned:
    """Waits for what never comes, as a handler that takes a lost lock does."""
    released.wait()
    return Turned()


@knob.query
def stare(state: int) -> int:
    """The same for a query."""
    released.wait()
    return state


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """Lets the threads that the pod has left behind end with the test."""
    released.clear()
    yield
    released.set()


def left_behind(pod: Pod) -> float:
    """What the metrics say of threads that were left."""
    value = next(one.value for one in PodMeasures(pod).now() if one.name == "troupe_left_behind_total")
    assert isinstance(value, int | float)
    return value


def test_given_a_decision_that_never_returns_then_its_caller_hears_which_one_and_others_go_on(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(knob, counter, handler_timeout_s=1.0) as pod, system.client() as client:
            await client.ask(knob, "a", "turn_once")
            epochs = {lane.lane: lane.epoch for lane in pod.lanes.values()}
            jammed = asyncio.ensure_future(client.ask(knob, "a", "jam"))
            await until(lambda: pod.meter.slow_handlers == 1)
            behind = asyncio.ensure_future(client.ask(knob, "a", "turn_once"))
            assert await client.ask(knob, "b", "turn_once") is None
            answered = 0
            while not jammed.done():
                answered = await client.ask(counter, "other", Add(1))
            assert answered > 1
            with pytest.raises(CallFailed) as caught:
                await jammed
            assert caught.value.code == "handler_failed"
            assert "knob.jam did not return within 1 s" in str(caught.value)
            assert await behind is None
            assert left_behind(pod) == 1
            assert {lane.lane: lane.epoch for lane in pod.lanes.values()} == epochs, "the pod lost its lanes meanwhile"
            assert not pod.failed.is_set()

    run(scenario())
    assert system.sql("SELECT method, attempts FROM dead_letters") == [("jam", 1)]
    assert system.sql("SELECT key, count(*) FROM log WHERE type = 'Turned' GROUP BY key ORDER BY key") == [
        ("a", 2), ("b", 1)]  # fmt: skip


def test_given_a_query_that_never_returns_then_its_caller_hears_which_one_and_others_are_answered(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(knob, counter, handler_timeout_s=1.0), system.client() as client:
            staring = asyncio.ensure_future(client.query(knob, "a", "stare", timeout_s=30))
            while not staring.done():
                assert await client.query(counter, "other", "value") == 0
            with pytest.raises(CallFailed) as caught:
                await staring
            assert caught.value.code == "timeout"
            assert "knob/a.stare did not return within 1 s" in str(caught.value)

    run(scenario())

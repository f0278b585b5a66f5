"""Heartbeats: the next attempt has the detail of the one before, and one that is silent for too long has failed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from runtime import Retry, RetryPolicy, Turn, Workflow, World, function, heartbeat, heartbeat_detail, workflow
from runtime.errors import BadResult, CallFailed

AGAIN = RetryPolicy(max_attempts=20, first_delay_s=0.0, jitter=0.0)


def test_given_a_function_that_fails_then_its_next_attempt_has_the_last_detail() -> None:
    seen: list[Any] = []

    @function(retry=AGAIN)
    async def climbing(ctx: Turn) -> int:
        done = ctx.heartbeat_detail(int)
        seen.append(done)
        for step in range(done or 0, 6):
            ctx.heartbeat(step + 1)
            if step in (1, 3):
                raise Retry("slipped")
        return len(seen)

    assert World(climbing).ask(climbing, "k", "run") == 3
    assert seen == [None, 2, 4]


@pytest.mark.parametrize("always_replay", [False, True])
def test_given_a_step_in_a_thread_that_fails_then_it_resumes_also_in_a_replay(always_replay: bool) -> None:
    seen: list[Any] = []

    def load(rows: int) -> int:
        done = heartbeat_detail(int) or 0
        seen.append(done)
        for row in range(done, rows):
            heartbeat(row + 1)
            if row == 2:
                raise OSError("cut off")
        return rows

    @workflow
    async def loading(ctx: Workflow) -> list[int]:
        return [await ctx.step(load, 5, retry=AGAIN), await ctx.step(load, 2, retry=AGAIN)]

    world = World(loading, always_replay=always_replay)
    assert world.ask(loading, "k", "run") == [5, 2]
    assert seen == [0, 3, 0], "the second step is another one"
    names = [entry["step"] for entry in (event_of(one) for one in world.log) if entry.get("step")]
    assert names.count("load") == 2
    assert "$beat load" in names
    world.replay()


def event_of(event: Any) -> dict[str, Any]:
    payload: dict[str, Any] = msgspec.json.decode(event.payload)
    return payload


def test_given_a_step_that_falls_silent_then_its_attempt_has_failed_and_it_hears_of_that() -> None:
    attempts: list[Any] = []
    told = threading.Event()

    async def stuck() -> int:
        attempts.append(heartbeat_detail(str))
        if len(attempts) == 1:
            heartbeat("here")
            await asyncio.Event().wait()
        return 7

    def deaf() -> None:
        try:
            while True:
                heartbeat()
                told.wait(0.01)
        except asyncio.CancelledError:
            told.set()
            raise

    @workflow
    async def waiting(ctx: Workflow) -> int:
        found: int = await ctx.step(stuck, retry=AGAIN, heartbeat_timeout_s=0.5)
        return found

    @function(timeout_s=0.2, retry=RetryPolicy(max_attempts=1))
    def beating() -> None:
        deaf()

    assert World(waiting).ask(waiting, "k", "run") == 7
    assert attempts[:2] == [None, "here"]
    with pytest.raises(CallFailed, match="handler_failed"):
        World(beating).ask(beating, "k", "run")
    assert told.wait(60), "a thread hears of the end of its attempt by its next heartbeat"


def test_given_no_step_or_a_detail_without_a_form_then_the_error_says_so() -> None:
    with pytest.raises(BadResult, match="only a step or a function has heartbeats"):
        heartbeat()

    @function(retry=RetryPolicy(max_attempts=1))
    async def wrong(what: str) -> None:
        heartbeat(object() if what == "object" else "x" * 70_000)

    for what, text in (("object", "an? object|object, has no JSON form"), ("long", "at most 65536 bytes")):
        with pytest.raises(CallFailed, match=text):
            World(wrong).ask(wrong, "k", "run", {"what": what})


def test_given_a_function_whose_time_is_over_then_its_next_attempt_has_the_last_detail_all_the_same() -> None:
    seen: list[Any] = []

    @function(timeout_s=0.5, retry=AGAIN)
    async def slow(ctx: Turn) -> Any:
        seen.append(ctx.heartbeat_detail(int))
        if seen[-1] == 2:
            return seen[-1]
        for number in (1, 2):
            ctx.heartbeat(number)
            await asyncio.sleep(0.01)  # so that the first one is in the journal
        return await asyncio.Event().wait()

    assert World(slow).ask(slow, "k", "run") == 2


def test_given_a_thread_that_outlives_its_attempt_then_what_it_says_is_not_the_next_attempts() -> None:
    again, said = threading.Event(), threading.Event()
    details: list[Any] = []
    outcome: list[str] = []

    def late() -> None:
        assert again.wait(60)
        try:
            heartbeat("stale")
        except asyncio.CancelledError:
            outcome.append("over")
        else:
            outcome.append("taken")
        said.set()

    def load() -> int:
        details.append(heartbeat_detail(str))
        if len(details) == 1:
            late()
        again.set()
        said.wait(60)
        return 7

    @workflow
    async def loading(ctx: Workflow) -> int:
        found: int = await ctx.step(load, retry=AGAIN, timeout_s=0.3)
        return found

    assert World(loading).ask(loading, "k", "run") == 7
    assert outcome == ["over"]
    assert "stale" not in details

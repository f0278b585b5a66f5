"""Given/when/then for workflows: what a run asks for, and what it comes to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime import CallFailed, Rejected, StepFailed, Workflow, function, testing, workflow

BEGAN = 1_700_000_000.0


def reserve(item: str) -> str:
    raise AssertionError("no step runs in a story")


def charge(item: str, amount: int) -> str:
    raise AssertionError("no step runs in a story")


@function
async def weigh(item: str) -> int:
    return len(item)


@workflow
async def buying(ctx: Workflow, item: str) -> dict[str, Any]:
    async with ctx.saga() as saga:
        place = await ctx.step(reserve, item)
        saga.undo("release", reserve, item)
        ctx.publish("status", "reserved")
        weight = await ctx.task(weigh, {"item": item})
        if weight > 100:
            raise Rejected("too heavy")
        go = await ctx.signal("go", timeout_s=60, default=False)
        return {"place": place, "paid": await ctx.step(charge, item, 3) if go else None, "at": ctx.now}


def test_given_a_run_when_each_thing_happens_then_it_asks_for_the_next_one() -> None:
    story = buying.given({"item": "book"}).then_asks(reserve)
    assert story.arguments_of(reserve) == (("book",), {})
    story = story.when_done(reserve, "shelf 3").then_asks("weigh.run").then_published(status="reserved")
    story = story.when_done(weigh, 2).then_asks("signal go")
    paid = story.when_signal("go", True).then_asks(charge).when_done(charge, "p1")
    assert paid.result() == {"place": "shelf 3", "paid": "p1", "at": BEGAN}
    late = story.when_time(59).then_asks("signal go").when_time(1)
    late.then_result({"place": "shelf 3", "paid": None, "at": BEGAN + 60})
    story.then_asks("signal go")  # a story never changes


def test_given_stubs_then_steps_come_to_what_they_say() -> None:
    steps = {reserve: lambda item: f"shelf of {item}", charge: ValueError("no money")}
    story = buying.given({"item": "pen"}, steps=steps).when_signal("go", True).when_done(weigh, 1)
    story.then_asks("release").when_done("release").then_failed("step 'charge' failed.* no money")


def test_given_a_step_that_fails_or_refuses_then_the_run_does_what_it_says() -> None:
    begun = buying.given({"item": "book"})
    begun.when_failed(reserve, "gone").then_failed("gone")
    begun.when_rejected(reserve, "sold out").then_rejected("sold out")
    heavy = begun.when_done(reserve, "r").when_done(weigh, 101)
    heavy.then_asks("release").when_done("release").then_rejected("too heavy")
    cancelled = begun.when_done(reserve, "r").when_cancelled("late")
    cancelled.then_asks("release").when_done("release").then_cancelled("late")


@workflow
async def keeping(ctx: Workflow, number: int = 0) -> None:
    while True:
        name, request = await ctx.select(add=ctx.update("add", returns=int), end=ctx.sleep(3600))
        if name == "end":
            ctx.continue_as_new({"number": number})
        if request.value < 0:
            await request.reject("only up")
        else:
            number += request.value
            await request.answer(number)
        if ctx.patched("shown"):
            ctx.publish("number", number)


def test_given_updates_then_they_are_answered_and_the_run_continues_as_new() -> None:
    story = keeping.given().when_update("add", 3).then_answered("add", 3).then_published(number=3)
    story = story.when_update("add", 4).then_answered("add", 7).then_published(number=7)
    story = story.when_update("add", -1).then_answered("add", Rejected("only up"))
    story.when_time(3600).then_continues({"number": 7})


def test_given_code_that_does_otherwise_in_a_replay_then_the_story_says_so() -> None:
    calls: list[int] = []

    @workflow
    async def fickle(ctx: Workflow) -> None:
        calls.append(1)
        await ctx.step(f"step-{len(calls)}", reserve, "x")

    fickle.given().when_done("step-1").then_failed("left its journal .*recorded is 'step-1'.* now 'step-2'")


def test_given_what_did_not_happen_then_each_assertion_says_what_did() -> None:
    story = buying.given({"item": "book"})
    for check, told in (
        (lambda: story.then_asks("charge"), r"was to ask for \['charge'\], and it waits for \['reserve'\]"),
        (lambda: story.then_result(1), "was to complete, and it waits for"),
        (story.then_rejected, "as rejected"),
        (lambda: story.then_continues(1), "continue as new"),
        (lambda: story.then_published(status="x"), "published is {}"),
        (lambda: story.then_answered("add", 1), "answered was {}"),
        (lambda: story.when_done("charge"), "nobody asks for 'charge'"),
        (story.result, "has no result"),
        (lambda: story.when_failed(reserve).then_result(1), "it ended as handler_failed"),
        (lambda: story.when_failed(reserve, "gone").then_failed("lost"), "gone"),
    ):
        with pytest.raises(AssertionError, match=told):
            check()


def test_given_a_test_that_is_async_then_a_story_is_told_all_the_same() -> None:
    @workflow
    async def catching(ctx: Workflow) -> str:
        try:
            await ctx.step(reserve, "x")
        except StepFailed as error:
            return str(error)
        return "done"

    async def told() -> None:
        catching.given().when_failed(reserve, "gone").then_result("gone")

    asyncio.run(told())


def test_given_a_world_for_tests_then_workflows_always_replay_and_steps_are_stubbed() -> None:
    calls: list[str] = []

    def shelf(item: str) -> str:
        calls.append(item)
        return f"shelf of {item}"

    world = testing.World(buying, weigh, steps={reserve: shelf, "charge": "p1"})
    world.signal(buying, "b", "start", "go", True)
    assert world.ask(buying, "b", "run", {"item": "book"}, id="start")["paid"] == "p1"
    assert calls == ["book"]
    begun: list[int] = []

    @workflow
    async def fickle(ctx: Workflow) -> None:
        begun.append(1)
        await ctx.step(f"step-{len(begun)}", reserve, "x")

    with pytest.raises(CallFailed, match="left its journal"):
        testing.World(fickle, steps={"step-1": None}).ask(fickle, "f", "run")
    refusing = testing.World(buying, weigh, steps={reserve: Rejected("sold out")})
    with pytest.raises(Rejected, match="sold out"):
        refusing.ask(buying, "b", "run", {"item": "book"})

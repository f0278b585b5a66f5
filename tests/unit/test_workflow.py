"""The kind: how a workflow is defined, what a second start does, what queries see; in a World, without servers."""

from __future__ import annotations

from typing import Any

import pytest

from runtime import CallFailed, Rejected, RunView, StepFailed, Workflow, World, function, keyvalue, workflow
from runtime.errors import BadDefinition
from runtime.flow.state import RunState
from runtime.keyvalue import KeyValue
from runtime.workflow import WorkflowKind

shelf = keyvalue("shelf")


@shelf.write
def put(ctx: KeyValue, item: str) -> int:
    """One more of an item."""
    count: int = ctx.get(item, 0) + 1
    if count > 2:
        raise Rejected("the shelf is full")
    ctx.set(item, count)
    return count


@function
async def double(number: int) -> int:
    """Twice."""
    return 2 * number


@workflow
async def filling(ctx: Workflow, item: str, times: int) -> dict[str, Any]:
    """Asks an entity, a function and a child."""
    counts = []
    for _ in range(times):
        counts.append(await ctx.ask(shelf, "s", "put", {"item": item}))
        ctx.publish("counts", counts)
    doubled = await ctx.task(double, {"number": counts[-1]}, returns=int)
    return {"doubled": doubled, "child": await ctx.child(resting, f"{ctx.key}-rest", {"seconds": 60})}


@workflow("rest")
async def resting(ctx: Workflow, seconds: float) -> float:
    """Sleeps for a while, and tells for how long."""
    began = ctx.now
    await ctx.sleep(seconds)
    return await ctx.timer(at=began + 2 * seconds) - began


@filling.query
def counts(run: RunView, last: int = 10) -> list[int]:
    """What it has put so far."""
    return run.get("counts", [0], type=list[int])[-last:]


@workflow
async def climbing(ctx: Workflow, to: int, at: int = 0) -> list[int]:
    """Continues as new until it is there."""
    if at < to:
        await ctx.step("climb", int)
        ctx.publish("at", at + 1)
        ctx.continue_as_new({"to": to, "at": at + 1})
    return [at, ctx.generation]


@workflow
async def failing(ctx: Workflow) -> None:
    """Lets a step's failure out."""

    def fail() -> None:
        raise ValueError("for good")

    ctx.publish("status", "about to fail")
    await ctx.step("fail", fail)


@pytest.mark.parametrize("always_replay", [False, True])
def test_given_a_workflow_when_it_asks_entities_functions_and_children_then_their_answers_are_its_own(
    always_replay: bool,
) -> None:
    world = World(filling, resting, shelf, double, always_replay=always_replay)
    result = world.ask(filling, "f", "run", {"item": "pen", "times": 2}, id="first")
    assert result == {"doubled": 4, "child": 120}
    assert world.query(filling, "f", "counts") == [1, 2]
    assert world.query(filling, "f", counts, {"last": 1}) == [2]
    assert world.query(filling, "f", "current") == {
        "run": "first", "status": "completed", "published": {"counts": [1, 2]}, "error": None,
    }  # fmt: skip
    assert world.query(filling, "other", "counts") == [0]
    assert world.query(filling, "other", "current")["status"] == "none"
    world.replay()


def test_given_a_refusal_when_the_workflow_lets_it_out_then_the_run_has_failed_with_it() -> None:
    world = World(filling, resting, shelf, double)
    for _ in range(2):  # a second start joins, and is told the same
        with pytest.raises(Rejected, match="the shelf is full"):
            world.ask(filling, "f", "run", {"item": "pen", "times": 3})
    assert world.query(filling, "f", "current")["status"] == "failed"
    assert world.query(filling, "f", "current")["error"] == "the shelf is full"
    assert world.query(filling, "f", counts) == [1, 2]
    assert world.dead == []


def test_given_a_step_that_fails_for_good_when_it_is_let_out_then_the_run_fails_and_is_not_parked() -> None:
    world = World(failing)
    with pytest.raises(CallFailed, match="step 'fail' failed, on attempt 3 the last time: ValueError: for good") as got:
        world.ask(failing, "f", "run")
    assert isinstance(got.value.__cause__, StepFailed)
    assert world.dead == []
    assert world.query(failing, "f", "current")["published"] == {"status": "about to fail"}


@pytest.mark.parametrize("always_replay", [False, True])
def test_given_a_run_that_continues_as_new_then_it_ends_as_one(always_replay: bool) -> None:
    world = World(climbing, always_replay=always_replay)
    assert world.ask(climbing, "c", "run", {"to": 5}) == [5, 5]
    assert world.query(climbing, "c", "current")["published"] == {"at": 5}
    world.replay()


@pytest.mark.parametrize(
    ("policy", "args", "expected"),
    [
        ("join", {"number": 1}, 1),
        ("join", {"number": 2}, "with other arguments"),
        ("reject", {"number": 1}, "exists already"),
        ("replace", {"number": 2}, 2),
    ],
)
def test_given_a_run_that_has_ended_when_started_again_then_the_policy_says_what_comes_of_it(
    policy: Any, args: dict[str, int], expected: Any
) -> None:
    @workflow(on_existing=policy)
    async def numbered(ctx: Workflow, number: int) -> int:
        return number

    world = World(numbered)
    assert world.ask(numbered, "n", "run", {"number": 1}, id="first") == 1
    assert world.ask(numbered, "n", "run", {"number": 1}, id="first") == 1, "a repeat is the same command"
    if isinstance(expected, int):
        assert world.ask(numbered, "n", "run", args) == expected
    else:
        with pytest.raises(Rejected, match=expected):
            world.ask(numbered, "n", "run", args)


def test_given_a_timer_by_cron_when_it_waits_then_until_the_expression_is_due_in_its_time_zone() -> None:
    @workflow
    async def nightly(ctx: Workflow, cron: str) -> float:
        return await ctx.timer(cron=cron, timezone="Europe/Berlin")

    world = World(nightly)
    assert world.ask(nightly, "n", "run", {"cron": "30 2 * * *"}) == 1_700_011_800  # 02:30 on 15 November 2023
    with pytest.raises(CallFailed, match="ctx.timer.cron='30 2'"):
        world.ask(nightly, "bad", "run", {"cron": "30 2"})


def test_given_code_that_does_otherwise_in_a_replay_when_it_always_replays_then_that_is_found() -> None:
    attempts = 0

    @workflow
    async def fickle(ctx: Workflow) -> int:
        nonlocal attempts
        attempts += 1
        await ctx.step(f"attempt {attempts}", int)
        return attempts

    assert World(fickle).ask(fickle, "f", "run") == 1
    with pytest.raises(CallFailed, match="request 1: recorded is 'attempt 2'"):
        World(fickle, always_replay=True).ask(fickle, "f", "run")


def test_given_a_snapshot_then_it_is_the_state() -> None:
    world = World(filling, resting, shelf, double)
    world.ask(filling, "f", "run", {"item": "pen", "times": 2}, id="first")
    state = world.state(filling, "f")
    assert isinstance(state, RunState)
    assert filling.decode_state(filling.encode_state(state)) == state


def test_given_definitions_that_cannot_work_then_they_are_refused_at_once() -> None:
    def plain(ctx: Workflow) -> None: ...

    async def bare() -> None: ...

    with pytest.raises(BadDefinition, match="async function"):
        workflow(plain)
    with pytest.raises(BadDefinition, match="ctx"):
        workflow(bare)
    with pytest.raises(BadDefinition, match="join"):
        workflow(on_existing="ignore")  # type: ignore[call-overload]  # what is refused here
    with pytest.raises(BadDefinition, match="is no time-out"):
        workflow(run_timeout_s=0)(filling.handler)
    with pytest.raises(BadDefinition, match="two methods"):
        filling.query(counts)
    kind = workflow("named")(resting.handler)
    assert isinstance(kind, WorkflowKind)
    assert kind.name == "named"
    assert sorted(kind.methods) == ["current", "run"]


@workflow
async def packing(ctx: Workflow) -> None:
    """Fills a shelf, and empties it again when it is full."""
    async with ctx.saga() as saga:
        for _ in range(3):
            await ctx.ask(shelf, "p", "put", {"item": "box"})
            saga.undo_by(lambda: ctx.ask(shelf, "p", "take", {"item": "box"}))


@shelf.write
def take(ctx: KeyValue, item: str) -> int:
    """One fewer of an item."""
    count: int = ctx.get(item, 0) - 1
    ctx.set(item, count)
    return count


def test_given_an_actor_that_refuses_then_the_refusal_is_recorded_and_the_saga_undoes() -> None:
    world = World(packing, shelf)
    with pytest.raises(Rejected, match="the shelf is full"):
        world.ask(packing, "p1", "run")
    assert world.query(packing, "p1", "current")["status"] == "failed"
    assert world.ask(shelf, "p", "put", {"item": "box"}) == 1


@workflow
async def nightly(ctx: Workflow, cron: str, timezone: str) -> float:
    """Waits for the next time."""
    return await ctx.timer(cron=cron, timezone=timezone)


def test_given_a_cron_expression_then_the_timer_waits_until_it_is_due() -> None:
    world = World(nightly)
    due = world.ask(nightly, "n1", "run", {"cron": "30 6 * * *", "timezone": "Asia/Kolkata"})
    assert due % 86_400 == 3_600  # half past six in Kolkata
    assert 0 < due - 1_700_000_000 <= 86_400
    with pytest.raises(CallFailed, match="no cron expression"):
        world.ask(nightly, "n2", "run", {"cron": "soon", "timezone": "UTC"})

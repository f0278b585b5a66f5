"""A World's runs are told things by their own steps and by a start; actors are deleted. Also on the real engine."""

from __future__ import annotations

from typing import Any

import pytest

from runtime import CallFailed, Rejected, StepFailed, Workflow, keyvalue, workflow
from runtime.keyvalue import KeyValue
from runtime.stubs import Steps
from runtime.testing import World

engines = pytest.mark.parametrize("always_replay", [False, True])
tokens: list[str] = []


@workflow("ride")
async def ride(ctx: Workflow, to: str) -> str:
    """Waits for what comes of its token."""
    try:
        return f"to {to} by {await ctx.external('taxi', order, to, returns=str, timeout_s=60)}"
    except StepFailed as error:
        return str(error)


async def order(to: str, token: str) -> None:
    """Hands the token out."""
    tokens.append(token)


@workflow("listener", on_existing="join")
async def listener(ctx: Workflow, least: int = 1) -> list[Any]:
    """Takes what is said until a second is silent."""
    heard: list[Any] = []
    while len(heard) < least or (await ctx.signal("more", timeout_s=1, default=None)) is not None:
        heard.append(await ctx.signal("said"))
    return heard


@workflow("once", on_existing="reject")
async def once(ctx: Workflow) -> Any:
    """Has one run a key."""
    return await ctx.signal("said")


notes = keyvalue("notes")


@notes.write
def note(ctx: KeyValue, text: str) -> list[str]:
    """Keeps a text."""
    texts = [*ctx.get("texts", [], type=list[str]), text]
    ctx.set("texts", texts)
    return texts


@engines
def test_given_a_token_when_its_step_completes_it_then_the_run_has_the_value(always_replay: bool) -> None:
    stubs: Steps = {"taxi": lambda to, token: world.complete(token, "cab 7")}
    world: World = World(ride, always_replay=always_replay, steps=stubs)
    assert world.ask(ride, "r", "run", {"to": "Elm 3"}, id="r-1") == "to Elm 3 by cab 7"


def test_given_a_token_when_it_is_failed_then_the_step_has_failed() -> None:
    world: World = World(ride, steps={"taxi": lambda to, token: world.fail(token, "no cab is free")})
    assert "no cab is free" in world.ask(ride, "r", "run", {"to": "Elm 3"})


def test_given_a_token_when_nobody_uses_it_then_the_time_out_comes_and_it_is_of_no_use_any_more() -> None:
    tokens.clear()
    world = World(ride)
    with pytest.raises(CallFailed, match="nobody completed"):
        world.ask(ride, "r", "run", {"to": "Elm 3"})
    with pytest.raises(CallFailed, match="^not_running"):
        world.complete(tokens[-1])
    with pytest.raises(CallFailed, match="^bad_request"):
        world.complete("abc")
    with pytest.raises(CallFailed, match="^forbidden"):
        world.complete(tokens[-1], tenant="other")


def test_given_a_token_when_it_is_used_again_then_the_same_does_nothing_and_another_value_is_refused() -> None:
    refusals: list[str] = []

    def use(to: str, token: str) -> None:
        world.complete(token, 1)
        world.complete(token, 1)
        with pytest.raises(Rejected, match="used already") as caught:
            world.complete(token, 2)
        refusals.append(str(caught.value))

    world = World(ride, always_replay=False, steps={"taxi": use})
    with pytest.raises(CallFailed, match="is not of"):  # the value is no text: the run is parked for it
        world.ask(ride, "r", "run", {"to": "Elm 3"})
    assert refusals


@engines
def test_given_no_run_when_one_is_started_with_a_signal_then_it_has_it_and_the_same_again_is_the_same_run(
    always_replay: bool,
) -> None:
    world = World(listener, always_replay=always_replay)
    first = world.signal_with_start(listener, "l", "said", "a", id="s-1")
    assert world.ask(listener, "l", "run", id=first) == ["a"]
    assert world.signal_with_start(listener, "l", "said", "a", id="s-1") == first
    second = world.signal_with_start(listener, "l", "said", "b", id="s-2")
    assert second != first
    assert world.query(listener, "l", "current")["run"] == second
    world.replay()


def test_given_a_run_that_goes_on_when_a_step_of_it_starts_with_a_signal_then_the_run_is_told() -> None:
    runs: list[str] = []

    @workflow("nosy")
    async def nosy(ctx: Workflow) -> Any:
        await ctx.step("tell", tell)
        return await ctx.signal("said", timeout_s=1)

    def tell() -> None:
        runs.append(world.signal_with_start(nosy, "n", "said", "by itself", id="from-inside"))

    world = World(nosy)
    assert world.ask(nosy, "n", "run", id="n-1") == "by itself"
    assert runs == ["n-1"]


def test_given_a_start_that_cannot_work_then_the_code_is_that_of_production() -> None:
    world = World(once, listener, notes)
    world.signal_with_start(once, "o", "said", 1)
    with pytest.raises(Rejected, match="choose another id"):
        world.signal_with_start(once, "o", "said", 2)
    with pytest.raises(CallFailed, match="^unknown_method"):
        world.signal_with_start(notes, "n", "said", 2)
    with pytest.raises(CallFailed, match="^invalid_arguments"):
        world.signal_with_start(listener, "l", "said", 2, {"least": "many"})


def test_given_an_actor_when_it_is_deleted_then_a_new_life_begins_and_its_answers_are_gone() -> None:
    world = World(notes)
    with pytest.raises(Rejected, match="nothing to delete"):
        world.delete(notes, "n")
    assert world.ask(notes, "n", "note", {"text": "a"}, id="1") == ["a"]
    assert world.ask(notes, "other", "note", {"text": "o"}, id="1") == ["o"]
    assert world.delete(notes, "n", by="ann", reason="asked for") == 1
    assert world.state(notes, "n") == {}
    with pytest.raises(CallFailed, match="^deleted"):
        world.ask(notes, "n", "note", {"text": "a"}, id="1")
    assert world.ask(notes, "n", "note", {"text": "b"}, id="2") == ["b"]
    assert [(event.key, event.seq, event.type) for event in world.log] == [
        ("other", 1, "ValueSet"), ("n", 2, "troupe.deleted"), ("n", 3, "ValueSet")
    ]  # fmt: skip
    assert len(world.events(notes, "n")) == 1
    world.replay()


@engines
def test_given_a_run_that_continues_as_new_twice_in_a_row_then_what_it_has_taken_before_is_not_heard_again(
    always_replay: bool,
) -> None:
    @workflow("twice", on_existing="join")
    async def twice(ctx: Workflow, at: int = 0, got: Any = None) -> list[Any]:
        """Takes a word, and continues as new before there is another."""
        if at == 0:
            got = await ctx.signal("said")
        if at < 2:
            ctx.continue_as_new({"at": at + 1, "got": got})
        return [got, await ctx.signal("said", timeout_s=1, default="nothing")]

    world = World(twice, always_replay=always_replay)
    run = world.signal_with_start(twice, "t", "said", "once", id="s-1")
    assert world.ask(twice, "t", "run", id=run) == ["once", "nothing"]

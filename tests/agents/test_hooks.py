"""Hooks around requests, agents, models and tools, and tools with a lock, in a World whose every step is crashed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from actors.agents import Agent, Hooked, ToolContext, hook, tool
from actors.agents.hooks import POINTS
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.wire import Message
from actors.sessions.session import Answer, Task, session
from runtime import BadDefinition, Rejected, RetryPolicy
from runtime.testing import World
from tests.agents.scripted import Scripted

seen: list[str] = []


@pytest.fixture
def model() -> Iterator[Scripted]:
    seen.clear()
    scripted = Scripted()
    with using(Caller(Fleet(), lambda _: scripted)):
        yield scripted


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def answered(agent: Agent, **options: Any) -> Answer:
    world = World(session, agent, always_replay=True)
    return world.ask(agent, "r1", "run", Task("", 0, "Go"), type=Answer, **options)  # type: ignore[no-any-return]  # read as `type`


def noting(*points: Any, **options: Any) -> Any:
    @hook(*points, **options)
    async def note(event: Hooked) -> None:
        seen.append(f"{event.point} {event.name}")

    return note


def test_given_hooks_at_every_point_when_a_run_is_crashed_at_each_step_then_each_has_seen_each_thing_once(
    model: Scripted,
) -> None:
    model.calls("add", a=1, b=2)
    model.says("three")
    answered(Agent("sums", tools=[add], hooks=[noting(*POINTS)]))
    assert seen == [
        "request.before sums", "agent.before sums",
        "model.before generate", "model.after generate",
        "tool.before add", "tool.after add",
        "model.before generate", "model.after generate",
        "agent.after sums", "request.after sums",
    ]  # fmt: skip


def test_given_hooks_that_change_things_when_they_run_then_in_order_each_on_what_the_one_before_gave(
    model: Scripted,
) -> None:
    @hook("tool.before", by=10)
    def more(event: Hooked, by: int) -> Any:
        return event.value | {"a": event.value["a"] + by}

    @hook("tool.before", of=("add",))
    def doubled(event: Hooked) -> Any:
        return event.value | {"a": event.value["a"] * 2}

    @hook("tool.before", of=("another",))
    def never(event: Hooked) -> dict[str, Any]:
        raise AssertionError

    @hook("tool.after")
    async def said(event: Hooked) -> str:
        return f"it is {event.value}"

    @hook("request.after")
    async def signed(event: Hooked) -> Any:
        return replace(event.value, text=f"{event.value.text} -- sums")

    @hook("model.before")
    async def shorter(event: Hooked) -> Any:
        return replace(event.value, max_tokens=7)

    model.calls("add", a=1, b=2)
    model.says("done")
    answer = answered(Agent("sums", tools=[add], hooks=[more, doubled, never, said, signed, shorter]))
    assert answer.messages[1].content == "it is 24"
    assert answer.text == "done -- sums"
    assert {request.max_tokens for request in model.asked} == {7}


def test_given_a_hook_that_refuses_when_a_tool_is_called_then_the_model_is_told_and_nothing_is_done(
    model: Scripted,
) -> None:
    @hook("tool.before")
    async def no(event: Hooked) -> None:
        raise Rejected("not today")

    done: list[int] = []

    @tool
    def act() -> None:
        """Acts."""
        done.append(1)

    model.calls("act")
    model.says("I may not.")
    answer = answered(Agent("sums", tools=[act], hooks=[no]))
    assert answer.messages[1].content == "error: not today"
    assert not done


def test_given_a_tool_that_fails_and_one_that_hangs_when_they_are_watched_then_a_hook_that_fails_does_not_matter(
    model: Scripted,
) -> None:
    @tool
    def explode() -> None:
        """Explodes."""
        raise ValueError("boom")

    @tool(timeout_s=0.01)
    async def hang() -> None:
        """Hangs."""
        import asyncio

        await asyncio.Event().wait()

    @hook("tool.error", "tool.timeout")
    async def broken(event: Hooked) -> None:
        seen.append(f"{event.point}: {event.value}")
        raise RuntimeError("a hook")

    model.calls("explode")
    model.calls("hang")
    model.says("Both failed.")
    answer = answered(Agent("sums", tools=[explode, hang], hooks=[broken]))
    assert "ValueError: boom" in answer.messages[1].content
    assert "tool 'hang' took longer than its time-out, 0.01 s" in answer.messages[3].content
    assert seen == [
        "tool.error: ValueError: boom",
        "tool.timeout: tool 'hang' took longer than its time-out, 0.01 s",
    ]


def test_given_a_tool_that_yields_when_it_is_called_then_its_values_are_hooked_and_none_is_one_of_them(
    model: Scripted,
) -> None:
    @tool
    async def count() -> AsyncIterator[int | None]:
        """Counts."""
        for one in (1, None, 3):
            yield one

    @hook("tool.value")
    async def tenfold(event: Hooked) -> int | None:
        return None if event.value is None else event.value * 10

    model.calls("count")
    model.says("done")
    assert answered(Agent("sums", tools=[count], hooks=[tenfold])).messages[1].content == "[10,null,30]"


def test_given_a_run_that_fails_when_it_is_watched_then_the_hook_is_told(model: Scripted) -> None:
    model.calls("add", a=1, b=2)
    with pytest.raises(Rejected, match="has asked its model 1 times"):
        answered(Agent("sums", tools=[add], max_iterations=1, hooks=[noting("request.error")]))
    assert seen == ["request.error sums"]


def test_given_a_hook_that_gives_what_it_must_not_when_it_does_then_the_run_says_so(model: Scripted) -> None:
    @hook("tool.before")
    async def wrong(event: Hooked) -> str:
        return "what?"

    model.calls("add", a=1, b=2)
    model.says("done")
    with pytest.raises(Exception, match="a hook before tool 'add' gave str, not its arguments"):
        answered(Agent("sums", tools=[add], hooks=[wrong]))


def test_given_no_point_or_an_unknown_one_when_a_hook_is_made_then_it_is_no_definition() -> None:
    for points in ((), ("tool.later",)):
        with pytest.raises(BadDefinition, match=r"there are request\.before"):
            hook(*points)(print)
    with pytest.raises(BadDefinition, match="has no parameter more to fix"):
        hook("tool.before", more=1)(lambda event: None)


def test_given_a_tool_with_a_lock_when_it_is_called_then_by_a_function_that_holds_one_key_with_the_agents_hooks(
    model: Scripted,
) -> None:
    tries: list[str] = []

    @tool(lock=True, retry=RetryPolicy(max_attempts=2, first_delay_s=0.0), unit="m")
    async def measure(what: str, unit: str, ctx: ToolContext) -> str:
        """Measures."""
        tries.append(ctx.key)
        if len(tries) == 1:
            raise OSError("the first try fails")
        return f"{what}: 3 {unit}"

    model.calls("measure", what="it")
    model.calls("measure", how="?")
    model.says("3 m")
    agent = Agent("sums", tools=[measure], hooks=[noting("tool.before", "tool.after", "tool.error")])
    world = World(session, agent, always_replay=True)
    answer = world.ask(agent, "r1", "run", Task("", 0, "Go"), type=Answer)
    assert [one.content for one in answer.messages if one.role == "tool"] == [
        "it: 3 m",
        "error: the arguments of measure do not fit: Object contains unknown field `how`, at $",
    ]
    assert len(set(tries)) == 1
    assert len(tries) == 2
    assert seen == ["tool.before measure", "tool.error measure", "tool.before measure", "tool.after measure"]
    assert {(event.kind, event.key) for event in world.log} == {("sums", "r1"), ("tool-measure", "lock")}
    assert agent.companions[0].methods["run"].exclusive


def test_given_a_tool_that_fails_for_good_behind_a_lock_then_the_model_is_told_and_nothing_is_parked(
    model: Scripted,
) -> None:
    @tool(lock=True)
    def explode() -> None:
        """Explodes."""
        raise ValueError("boom")

    model.calls("explode")
    model.says("It broke.")
    agent = Agent("sums", tools=[explode])
    world = World(session, agent, always_replay=True)
    answer = world.ask(agent, "r1", "run", Task("", 0, "Go"), type=Answer)
    assert answer.messages[1] == Message(
        "tool", "error: explode failed, on attempt 1 the last time: ValueError: boom",
        tool_call_id=answer.messages[1].tool_call_id, name="explode",
    )  # fmt: skip
    assert not world.dead

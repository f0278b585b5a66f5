"""Turns in a World: their order, their values, what they enqueue, how they fail, and their snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from actors.agents import Hooked, ToolContext, hook, tool
from actors.turns import Late, Send, Turn, turns
from actors.turns.queue import Queue
from actors.turns.turn import Ended, Snapshot
from runtime import BadDefinition, Rejected
from runtime.testing import World
from runtime.yields import values_of

seen: list[str] = []


@tool
async def greet(name: str, greeting: str = "Hello") -> str:
    """Greets."""
    return f"{greeting}, {name}!"


@tool
async def count(to: int) -> AsyncIterator[int | None]:
    """Counts, with a hole."""
    yield 1
    yield None
    for one in range(3, to + 1):
        yield one


@tool
def explode() -> None:
    """Explodes."""
    raise ValueError("boom")


@tool
async def hang() -> None:
    """Hangs."""
    await asyncio.Event().wait()


@tool
async def twice(name: str, ctx: ToolContext) -> Any:
    """Has itself greeted here and elsewhere."""
    return Turn("greet", (name,), metadata={"by": ctx.agent})


@tool
async def elsewhere(name: str) -> AsyncIterator[Any]:
    """Gives a value, and has another agent greet."""
    yield "on its way"
    yield Send("another", "desk", Turn("greet", (name,)))


TOOLS = (greet, count, explode, hang, twice, elsewhere)


@pytest.fixture
def world() -> World:
    seen.clear()
    greeter = turns("greeter", "Greets.", TOOLS, late={"who": lambda: "Zoe"})
    return World(greeter, turns("another", "Greets too.", [greet]), turns("careful", "", TOOLS, on_failure="hold"))


def put(world: World, turn: Turn, agent: str = "greeter") -> str:
    return str(world.ask(agent, "desk", "put", turn)[0])


def queue(world: World, agent: str = "greeter") -> Queue:
    return world.query(agent, "desk", "status", type=Queue)  # type: ignore[no-any-return]  # read as `type`


def values(world: World, one: Ended, agent: str = "greeter") -> list[Any]:
    events = [event for event in world.log if event.kind == f"{agent}-turn"]
    return [msgspec.json.decode(value) for _, value in values_of(events, one.id)]


def test_given_turns_when_they_are_put_then_each_is_taken_in_order_with_its_values_and_none_is_one(
    world: World,
) -> None:
    put(world, Turn("greet", ("Ann",), {"greeting": "Hi"}, metadata={"n": 1}))
    put(world, Turn("count", kwargs={"to": 4}))
    first, second = queue(world).ended
    assert (values(world, first), values(world, second)) == (["Hi, Ann!"], [1, None, 3, 4])
    assert [(one.stop_reason, one.values) for one in (first, second)] == [("completed", 1), ("completed", 4)]
    assert first.turn.metadata == {"n": 1}
    assert first.started_at <= first.ended_at


def test_given_a_tool_that_gives_a_turn_when_it_is_taken_then_that_is_put_here_and_one_sent_is_put_there(
    world: World,
) -> None:
    put(world, Turn("twice", ("Ann",)))
    put(world, Turn("elsewhere", ("Bob",)))
    given = [(one.turn.tool, values(world, one)) for one in queue(world).ended]
    assert given == [("twice", []), ("greet", ["Hello, Ann!"]), ("elsewhere", ["on its way"])]
    assert queue(world).ended[1].turn.metadata == {"by": "greeter"}
    (other,) = queue(world, "another").ended
    assert values(world, other, "another") == ["Hello, Bob!"]


def test_given_a_late_argument_when_the_turn_begins_then_it_is_found_and_an_unknown_one_fails_it(world: World) -> None:
    put(world, Turn("greet", (Late("who"),)))
    put(world, Turn("greet", (Late("nobody"),)))
    good, bad = queue(world).ended
    assert values(world, good) == ["Hello, Zoe!"]
    assert "has no late value 'nobody': it has who" in bad.error


@pytest.mark.parametrize(
    ("turn", "reason", "said"),
    [
        (Turn("explode"), "error", "ValueError: boom"),
        (Turn("hang", timeout_s=0.01), "timeout", "turn 'hang' of careful/desk took longer than its 0.01 s"),
        (Turn("greet"), "error", "missing required field `name`"),
        (Turn("greet", ("a", "b", "c")), "error", "it takes name, greeting; given 3 by place"),
        (Turn("greet", ("a",), {"name": "b"}), "error", "given name twice"),
    ],
)
def test_given_a_turn_that_fails_when_the_agent_holds_then_it_is_kept_with_its_reason_and_can_be_taken_again(
    world: World, turn: Turn, reason: str, said: str
) -> None:
    id = put(world, turn, "careful")
    put(world, Turn("greet", ("Ann",)), "careful")
    held = queue(world, "careful")
    assert (held.held, len(held.waiting)) == (True, 1)
    (failed,) = held.failed
    assert (failed.id, failed.turn, failed.stop_reason) == (id, turn, reason)
    assert said in failed.error
    assert not world.dead
    world.ask("careful", "desk", "retry", {"id": id})
    again = queue(world, "careful")
    assert [one.turn for one in again.failed] == [turn]
    world.ask("careful", "desk", "drop", {"id": again.failed[0].id})
    world.ask("careful", "desk", "go_on")
    assert queue(world, "careful").failed == ()
    assert [one.turn.tool for one in queue(world, "careful").ended] == [turn.tool, turn.tool, "greet"]


def test_given_a_turn_that_fails_when_the_agent_goes_on_then_the_next_is_taken(world: World) -> None:
    put(world, Turn("explode"))
    put(world, Turn("greet", ("Ann",)))
    assert [one.stop_reason for one in queue(world).ended] == ["error", "completed"]
    assert len(queue(world).failed) == 1


def test_given_a_queue_when_a_snapshot_of_it_is_restored_elsewhere_then_the_turn_in_flight_comes_first(
    world: World,
) -> None:
    snapshot = Snapshot("greeter", Turn("greet", ("Ann",)), (Turn("greet", ("Bob",)), Turn("greet", ("Cid",))))
    plain = msgspec.to_builtins(snapshot)
    world.ask("greeter", "desk", "restore", plain)
    assert [values(world, one) for one in queue(world).ended] == [["Hello, Ann!"], ["Hello, Bob!"], ["Hello, Cid!"]]
    put(world, Turn("explode"), "careful")
    put(world, Turn("greet", ("Ann",)), "careful")
    left = world.query("careful", "desk", "snapshot", type=Snapshot)
    assert left == Snapshot("careful", None, (Turn("greet", ("Ann",)),))
    with pytest.raises(Rejected, match="a snapshot is restored into an empty queue"):
        world.ask("careful", "desk", "restore", plain)


def test_given_what_is_no_turn_of_the_agent_when_it_is_put_then_it_is_refused(world: World) -> None:
    with pytest.raises(Rejected, match="agent 'greeter' has no tool 'sing': it has count, elsewhere"):
        put(world, Turn("sing"))
    with pytest.raises(Rejected, match="timeout_s is more than 0"):
        put(world, Turn("greet", timeout_s=0))
    assert queue(world).ended == ()


def test_given_hooks_of_turns_when_they_are_taken_then_each_sees_and_may_change_its_part() -> None:
    seen.clear()

    @hook("turn.before", "turn.after", "turn.error", "turn.timeout")
    async def note(event: Hooked) -> None:
        seen.append(f"{event.point} {event.name}")

    @hook("turn.before", of=("greet",), to="Eve")
    async def redirected(event: Hooked, to: str) -> Turn:
        return Turn("greet", (to,))

    @hook("turn.value")
    def louder(event: Hooked) -> str:
        return str(event.value).upper()

    world = World(turns("greeter", "Greets.", TOOLS, hooks=[note, redirected, louder]))
    put(world, Turn("greet", ("Ann",)))
    put(world, Turn("explode"))
    put(world, Turn("hang", timeout_s=0.01))
    assert values(world, queue(world).ended[0]) == ["HELLO, EVE!"]
    assert seen == [
        "turn.before greet", "turn.after greet", "turn.before explode", "turn.error explode", "turn.before hang",
        "turn.timeout hang",
    ]  # fmt: skip


def test_given_a_tool_with_a_lock_when_its_turn_is_taken_then_by_the_function_that_all_agents_share() -> None:
    @tool(lock=True)
    async def press(what: str) -> str:
        """Presses."""
        return f"pressed {what}"

    one, other = turns("one", "", [press]), turns("other", "", [press])
    assert one.companions[1] is other.companions[1]
    world = World(one, other)
    world.ask("one", "desk", "put", Turn("press", ("it",)))
    assert values(world, queue(world, "one").ended[0], "one") == ["pressed it"]


def test_given_two_tools_of_one_name_when_an_agent_is_defined_then_it_is_no_definition() -> None:
    with pytest.raises(BadDefinition, match="two tools of one name"):
        turns("greeter", "", [greet, greet])


def test_given_a_turn_that_waits_when_somebody_else_lets_the_queue_go_on_then_it_is_taken_for_who_put_it() -> None:
    asked: list[tuple[str | None, tuple[str, ...]]] = []

    @tool
    async def whose(ctx: ToolContext) -> None:
        asked.append((ctx.principal, ctx.roles))

    world = World(turns("desk", "", [explode, whose], on_failure="hold"))
    world.ask("desk", "d", "put", Turn("explode"), principal="ann", roles=("admin",))
    world.ask("desk", "d", "put", Turn("whose"), principal="bob", roles=("guest",))
    world.ask("desk", "d", "go_on", principal="ann", roles=("admin",))
    assert asked == [("bob", ("guest",))]

"""New code against recorded actors and runs: every difference is told, and nothing is carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runtime import Rejected, Workflow, World, entity, workflow
from runtime.entity import Entity
from runtime.errors import Misconfigured
from runtime.kind import Kind
from runtime.replaying.comparing import compare
from runtime.replaying.differences import Report
from runtime.replaying.folding import states
from runtime.replaying.recording import actors_of
from runtime.workflow import WorkflowKind

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


def act(what: str) -> str:
    done.append(what)
    return what


class Added(msgspec.Struct, frozen=True):
    amount: int


class Other(msgspec.Struct, frozen=True):
    amount: int


def counter(apply: Callable[[int, Added], int]) -> Entity[int]:
    found = entity("counter", initial=0, apply=apply, events=[Added])

    @found.command
    def add(state: int, amount: int) -> Added:
        return Added(amount)

    return found


def plus(state: int, event: Added) -> int:
    return state + event.amount


def buying(code: Callable[..., Any]) -> WorkflowKind:
    return workflow("buying")(code)


@buying
async def old(ctx: Workflow, item: str) -> str:
    await ctx.step("reserve", act, item)
    ctx.publish("status", "reserved")
    if await ctx.signal("go", timeout_s=60, default=False):
        return str(await ctx.step("charge", act, item))
    raise Rejected("nobody paid")


def recording(world: World) -> list[bytes]:
    return [msgspec.json.encode(event) for event in world.log]


def against(kind: Kind, lines: list[bytes]) -> Report:
    return compare({kind.name: kind}, actors_of(lines, "test"))


def bought() -> list[bytes]:
    """The record of a run that was paid, one that was not, and of one that was cancelled by its parent's end."""
    world = World(old)
    world.signal(old, "paid", "p", "go", True)
    assert world.ask(old, "paid", "run", {"item": "book"}, id="p") == "book"
    with pytest.raises(Rejected):
        world.ask(old, "unpaid", "run", {"item": "pen"}, id="u")
    done.clear()
    return recording(world)


def test_given_the_code_that_was_recorded_then_nothing_differs_and_no_step_runs() -> None:
    report = against(old, bought())
    assert (report.differences, report.actors, report.runs, report.open) == ([], 2, 2, 0)
    assert done == []


def test_given_another_step_then_the_first_difference_names_request_arguments_and_line() -> None:
    @buying
    async def new(ctx: Workflow, item: str) -> str:
        await ctx.step("reserve", act, item)
        ctx.publish("status", "reserved")
        if await ctx.signal("go", timeout_s=60, default=False):
            return str(await ctx.step("pay", act, item, 3))
        raise Rejected("nobody paid")

    [found] = against(new, bought()).differences
    assert (found.key, found.what, found.run, found.event) == ("paid", "journal", "p", "4 charge")
    assert found.old["name"] == "charge"
    assert (found.new["name"], found.new["arguments"]) == ("pay", '[["book",3],{}]')
    line = new.handler.__code__.co_firstlineno + 5
    assert found.at == f"{__file__}:{line}"
    assert done == []


def test_given_other_arguments_then_both_digests_are_told() -> None:
    @buying
    async def new(ctx: Workflow, item: str) -> str:
        await ctx.step("reserve", act, item.upper())
        return item

    first, second = against(new, bought()).differences
    assert first.old["name"] == first.new["name"] == second.old["name"] == "reserve"
    assert first.old["digest"] != first.new["digest"]


def test_given_a_step_more_at_the_end_then_an_ended_run_differs_unless_it_is_patched() -> None:
    def version(patched: bool) -> WorkflowKind:
        @buying
        async def new(ctx: Workflow, item: str) -> str:
            await ctx.step("reserve", act, item)
            ctx.publish("status", "reserved")
            if await ctx.signal("go", timeout_s=60, default=False):
                charged = str(await ctx.step("charge", act, item))
                if not patched or ctx.patched("mail"):
                    await ctx.step("mail", act, item)
                return charged
            raise Rejected("nobody paid")

        return new

    [found] = against(version(patched=False), bought()).differences
    assert (found.what, found.old, found.new["name"]) == ("journal", {"result": "book"}, "mail")
    assert against(version(patched=True), bought()).differences == []
    assert done == []


def test_given_another_end_then_both_results_are_told() -> None:
    @buying
    async def new(ctx: Workflow, item: str) -> str:
        await ctx.step("reserve", act, item)
        ctx.publish("status", "reserved")
        if await ctx.signal("go", timeout_s=60, default=False):
            return str(await ctx.step("charge", act, item)).upper()
        raise Rejected("too late")

    paid, unpaid = against(new, bought()).differences
    assert (paid.what, paid.old, paid.new) == ("result", {"result": "book"}, {"result": "BOOK"})
    assert unpaid.old["failure"]["message"] == "nobody paid"
    assert unpaid.new["failure"]["message"] == "too late"
    assert unpaid.at == f"{__file__}:{new.handler.__code__.co_firstlineno + 6}"


def test_given_code_that_publishes_more_or_fails_then_that_is_told() -> None:
    @buying
    async def chatty(ctx: Workflow, item: str) -> str:
        await ctx.step("reserve", act, item)
        ctx.publish("status", "reserved")
        if await ctx.signal("go", timeout_s=60, default=False):
            charged = str(await ctx.step("charge", act, item))
            ctx.publish("paid", True)
            return charged
        raise Rejected("nobody paid")

    @buying
    async def wrong(ctx: Workflow, item: str) -> str:
        await ctx.step("reserve", act, item)
        return item[len(item)]

    @buying
    async def narrower(ctx: Workflow, item: int) -> str:
        return ""

    [found] = against(chatty, bought()).differences
    assert (found.what, found.new) == ("journal", ["paid"])
    for kind, text in ((wrong, "IndexError"), (narrower, "Expected `int`")):
        differences = against(kind, bought()).differences
        assert [one.what for one in differences] == ["error", "error"]
        assert text in differences[0].text


def test_given_a_run_that_goes_on_then_it_is_compared_as_far_as_it_is() -> None:
    lines = [line for line in bought() if b'"troupe.ended"' not in line and b'"step":"charge"' not in line]
    assert against(old, lines).differences == []
    assert against(old, lines).open == 2

    @buying
    async def new(ctx: Workflow, item: str) -> str:
        await ctx.step("reserve", act, item)
        ctx.publish("status", "reserved")
        await ctx.step("more", act, item)
        return ""

    assert [found.event for found in against(new, lines).differences] == ["3 $signal go", "3 $signal go"]


def test_given_a_run_that_continues_as_new_then_each_part_is_replayed_with_its_own_arguments() -> None:
    @workflow
    async def climbing(ctx: Workflow, height: int) -> int:
        await ctx.step("climb", act, str(height))
        if height < 3:
            ctx.continue_as_new({"height": height + 1})
        return height

    @workflow("climbing")
    async def faster(ctx: Workflow, height: int) -> int:
        await ctx.step("climb", act, str(height))
        if height < 3:
            ctx.continue_as_new({"height": height + (2 if height == 2 else 1)})
        return height

    world = World(climbing)
    world.ask(climbing, "c", "run", {"height": 1})
    assert against(climbing, recording(world)).differences == []
    [found] = against(faster, recording(world)).differences
    assert (found.old, found.new) == ({"continued": {"height": 3}}, {"continued": {"height": 4}})


def test_given_another_fold_when_the_old_states_are_known_then_the_first_event_that_differs_is_told() -> None:
    def at_most(state: int, event: Added) -> int:
        return min(state + event.amount, 5)

    def fails(state: int, event: Added) -> int:
        return 10 // (4 - event.amount)

    before = counter(plus)
    world = World(before)
    for amount in (1, 2, 4, 1):
        world.ask(before, "a", "add", {"amount": amount})
    lines = recording(world)
    [actor] = actors_of(lines, "test").values()
    known = states(before, actor)
    assert known is not None
    lines.append(msgspec.json.encode(known))
    assert against(counter(plus), lines).differences == []
    [found] = against(counter(at_most), lines).differences
    assert (found.what, found.seq, found.event, found.old, found.new) == ("state", 3, "Added", 8, 5)
    [found] = against(counter(fails), lines).differences
    assert (found.what, found.seq, found.old) == ("unreadable", 3, {"amount": 4})
    assert found.at == f"{__file__}:{fails.__code__.co_firstlineno + 1}"


def test_given_an_event_that_the_code_does_not_know_then_it_is_told() -> None:
    def apply(state: int, event: Other) -> int:
        return state

    before = counter(plus)
    world = World(before)
    world.ask(before, "a", "add", {"amount": 1})
    [found] = against(entity("counter", initial=0, apply=apply), recording(world)).differences
    assert (found.what, found.seq, found.event) == ("unreadable", 1, "Added")


def test_given_a_recording_that_is_none_or_has_holes_then_the_line_is_named() -> None:
    with pytest.raises(Misconfigured, match="bought.jsonl, line 1, is no event"):
        actors_of([b'{"a": 1}\n'], "bought.jsonl")
    deep = b"[" * 5000 + b"]" * 5000
    state = b'{"type":"troupe.state","tenant":"t","kind":"k","key":"a","seq":1,"state":%b}' % deep
    for broken in (b'{"type":"\xff"}', state):
        with pytest.raises(Misconfigured, match="bought.jsonl, line 2, is no event"):
            actors_of([b"\n", broken], "bought.jsonl")
    lines = bought()
    with pytest.raises(Misconfigured, match="event 2 is missing before event 3: export whole actors"):
        actors_of([lines[0], lines[2]], "bought.jsonl")


def test_given_code_that_asks_for_its_caller_then_it_sees_the_one_that_was() -> None:
    @workflow
    async def rights(ctx: Workflow) -> list[str]:
        return [str(ctx.turn.principal), *ctx.turn.roles]

    world = World(rights)
    assert world.ask(rights, "r", "run", principal="ann", roles=("manager",)) == ["ann", "manager"]
    assert against(rights, recording(world)).differences == []


def test_given_an_actor_that_was_deleted_then_its_next_life_alone_is_compared() -> None:
    before = counter(plus)
    world = World(before)
    for amount in (1, 2):
        world.ask(before, "a", "add", {"amount": amount})
    first, last = (msgspec.json.decode(line) for line in recording(world))
    deleted = {**first, "seq": 7, "type": "troupe.deleted", "payload": {}}
    lines = [msgspec.json.encode(one) for one in (deleted, {**last, "seq": 8})]
    known = {"tenant": "default", "kind": "counter", "key": "a", "seq": 8, "state": 2, "type": "troupe.state"}
    assert against(before, [*lines, msgspec.json.encode(known)]).differences == []
    [found] = against(before, [*lines, msgspec.json.encode({**known, "state": 3})]).differences
    assert (found.seq, found.old, found.new) == (8, 3, 2)


def test_given_kinds_that_the_code_does_not_have_then_they_are_named_and_not_compared() -> None:
    report = against(counter(plus), bought())
    assert (report.unknown, report.actors, report.differences) == (["buying"], 0, [])


def test_given_an_actor_that_was_deleted_then_its_recording_begins_with_its_new_life() -> None:
    lines = bought()
    first = msgspec.json.decode(lines[0])
    begin = {**first, "seq": 9, "type": "troupe.deleted", "payload": {"by": "ann", "reason": ""}}
    life = [begin, {**first, "seq": 10}]
    alone = [msgspec.json.encode(event) for event in life]
    for recorded in (alone, [*lines, *alone]):  # as it is read now, and as if it had been exported before as well
        (actor,) = [one for one in actors_of(recorded, "test").values() if one.last_seq == 10]
        assert [event.seq for event in actor.events] == [9, 10]
        assert [fact.seq for fact in actor.facts] == [9, 10]


def test_given_a_journal_that_is_none_then_its_actor_is_named() -> None:
    lines = [line.replace(b'"step":"reserve"', b'"step":1') for line in bought()]
    assert {found.what for found in against(old, lines).differences} == {"unreadable"}


def test_given_a_kind_that_is_no_workflow_any_more_then_its_runs_are_missed() -> None:
    found = against(entity("buying", initial=0, apply=plus, events=[Added]), bought()).differences
    assert {(one.what, one.seq) for one in found} == {("missing", 1), ("missing", 2)}

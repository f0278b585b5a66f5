"""Sessions as AG-UI events: from Worlds whose agents stream, call tools, hand over, break off and fail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from ag_ui.core.events import Event as AguiEvent
from pydantic import TypeAdapter

from actors.agents import Agent, tool
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.wire import CallPiece, Completion, Delta, Message, ToolCall
from actors.sessions.session import session
from gateway.following import Line, messages_of
from gateway.translating import Translator
from runtime.world import World
from schemas.shown import Said
from schemas.wire import Fact, LogEvent
from tests.agents.test_shown import Streaming, calls, says
from tests.gateway.agui_rules import check_order, text_of

AGUI: TypeAdapter[Any] = TypeAdapter(AguiEvent)
Events = list[dict[str, Any]]


def facts_of(world: World, *, without: Sequence[str] = ()) -> list[Fact]:
    """A session's stream as pods would have written it: progress where it was shown, a result behind the end."""
    found: list[Fact] = []
    shown = list(world.progress)
    for at, event in enumerate([*world.log, None]):
        while shown and shown[0][0] <= at:
            found.append(shown.pop(0)[1])
        if event is not None:
            found += facts_behind(event)
    return [fact for fact in found if fact.name not in without and fact.type not in without]


def facts_behind(event: LogEvent) -> list[Fact]:
    address = event.tenant, event.kind, event.key
    found = [Fact("event", event.type, event.command_id, *address, seq=event.seq, data=event.payload)]
    if event.type == "troupe.ended":
        ended = json.loads(bytes(event.payload))
        what, data = ("error", ended["failure"]) if ended.get("failure") else ("result", ended["result"])
        raw = msgspec.Raw(json.dumps(data).encode())
        found.append(Fact(what, "run", event.command_id, *address, data=raw))  # type: ignore[arg-type]  # one of these
    return found


def translated(facts: Sequence[Fact], **options: Any) -> Events:
    translator = Translator("s1", **options)
    events = [event for fact in facts for event in translator.take(fact)]
    for event in events:
        AGUI.validate_python(event)
    check_order(events)
    return events


def types(events: Events) -> list[str]:
    return [event["type"] for event in events]


@tool
def lookup(order: str) -> str:
    """Looks an order up."""
    return f"{order} is on its way"


def told(agent: Agent, *answers: Any, others: Sequence[Agent] = (), say: Sequence[str] = ("Where is A-7?",)) -> World:
    world = World(session, agent, *others)
    model = Streaming(*answers)
    with using(Caller(Fleet(), lambda _: model)):
        for number, text in enumerate(say, 1):
            world.ask(session, "s1", "say", {"text": text, "agent": agent.name}, id=f"r{number}")
    return world


def two_calls() -> list[Any]:
    """One answer with two calls of a tool."""
    wanted = (ToolCall("c1", "lookup", '{"order":"A"}'), ToolCall("c1", "lookup", '{"order":"B"}'))
    pieces = [Delta(call=CallPiece(at, "c1", "lookup")) for at in (0, 1)]
    pieces += [Delta(call=CallPiece(at, arguments=wanted[at].arguments[:5])) for at in (1, 0)]
    pieces += [Delta(call=CallPiece(at, arguments=wanted[at].arguments[5:])) for at in (0, 1)]
    return [Delta(reasoning="Two of them."), *pieces, Completion(Message("assistant", tool_calls=wanted), "scripted")]


EXPERT = Agent("expert")
WORLDS = {
    "text": lambda: told(Agent("desk"), says("It is ", "coming.")),
    "tool": lambda: told(Agent("desk", tools=[lookup]), calls("lookup", '{"order": "A-7"}'), says("Soon.")),
    "parallel": lambda: told(Agent("desk", tools=[lookup]), two_calls(), says("Both.")),
    "twice": lambda: told(Agent("desk"), says("One."), says("Two."), say=("first", "second")),
    "child": lambda: told(
        Agent("desk", tools=[EXPERT]), calls("expert", '{"request": "A-7?"}'), says("Soon", "."),
        says("It comes soon."), others=[EXPERT],
    ),
    "failing": lambda: told(Agent("desk", max_iterations=1, tools=[lookup]), calls("lookup", '{"order": "A"}')),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_given_a_stream_when_it_is_cut_at_any_entry_then_the_two_parts_are_the_whole(name: str) -> None:
    facts = facts_of(WORLDS[name]())
    whole = translated(facts)
    assert types(whole)[0] == "RUN_STARTED"
    for at in range(len(facts) + 1):
        resumed = Translator("s1")
        for fact in facts[:at]:
            resumed.take(fact)
        before = Translator("s1")
        parts = [event for fact in facts[:at] for event in before.take(fact)]
        parts += [event for fact in facts[at:] for event in resumed.take(fact)]
        assert parts == whole


@pytest.mark.parametrize("name", WORLDS)
def test_given_a_stream_without_progress_then_it_says_the_same_in_the_end(name: str) -> None:
    world = WORLDS[name]()
    with_it, without = translated(facts_of(world)), translated(facts_of(world, without=("progress",)))
    assert text_of(without) == text_of(with_it)
    assert {one["toolCallId"] for one in without if one["type"] == "TOOL_CALL_RESULT"} >= {
        one["toolCallId"] for one in with_it if one["type"] == "TOOL_CALL_RESULT" and "subagentRunId" not in one
    } or name == "failing"
    # Every fact twice, as after a take-over: nothing is said twice.
    doubled = [fact for fact in facts_of(world) for _ in range(2)]
    assert text_of(translated(doubled)) == text_of(with_it)


def test_given_a_text_then_it_comes_in_pieces_and_the_user_is_shown_unless_he_is_the_reader() -> None:
    facts = facts_of(WORLDS["text"]())
    assert types(translated(facts)) == [
        "RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "STEP_STARTED",
        "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "STEP_FINISHED",
        "RUN_FINISHED",
    ]  # fmt: skip
    assert "user" not in {event.get("role") for event in translated(facts, says_user=False)}


def test_given_calls_in_parallel_then_each_has_its_own_id_arguments_and_result() -> None:
    events = translated(facts_of(WORLDS["parallel"]()))
    arguments: dict[str, str] = {}
    for event in events:
        if event["type"] == "TOOL_CALL_ARGS":
            arguments[event["toolCallId"]] = arguments.get(event["toolCallId"], "") + event["delta"]
    results = {one["toolCallId"]: one["content"] for one in events if one["type"] == "TOOL_CALL_RESULT"}
    assert list(arguments.values()) == ['{"order":"B"}', '{"order":"A"}']
    assert [results[id] for id in arguments] == ["B is on its way", "A is on its way"]
    assert types(events)[5:8] == ["REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"]


def test_given_a_child_that_works_for_a_tool_then_it_is_a_subagent() -> None:
    events = translated(facts_of(WORLDS["child"]()))
    started = next(event for event in events if event["type"] == "SUBAGENT_STARTED")
    called = next(event for event in events if event["type"] == "TOOL_CALL_START")
    assert (started["name"], started["parentToolCallId"]) == ("expert", called["toolCallId"])
    own = [event for event in events if event.get("subagentRunId") == started["subagentRunId"]]
    assert text_of(own) == ["Soon."]
    assert types(own)[-1] == "SUBAGENT_FINISHED"
    assert text_of(events)[-1] == "It comes soon."


def test_given_a_run_that_fails_then_it_ends_with_its_error() -> None:
    events = translated(facts_of(WORLDS["failing"]()))
    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "rejected")
    assert "has asked its model 1 times" in events[-1]["message"]


def progress(attempt: int, first: int, *texts: str) -> Fact:
    data = msgspec.Raw(msgspec.json.encode([{"text": text} for text in texts]))
    return Fact("progress", "model", "r1", "default", "desk", "k", data=data, attempt=attempt, first=first)


def spoken(*between: Fact, text: str = "Hello you") -> Events:
    """What is shown between a run's beginning and its answer."""
    facts = facts_of(told(Agent("desk"), says(text)), without=("progress",))
    at = next(at for at, fact in enumerate(facts) if fact.name == "troupe.step")
    return translated([*facts[:at], *between, *facts[at:]], says_user=False)


def ids(events: Events) -> list[str]:
    return [event["messageId"] for event in events if event["type"] == "TEXT_MESSAGE_START"]


def test_given_an_attempt_that_supersedes_another_then_the_reader_is_told_and_the_text_has_another_id() -> None:
    events = spoken(progress(5, 0, "Hal"), progress(9, 0, "Hel"), progress(5, 1, "lo?"), progress(9, 1, "lo"))
    assert ids(events) == ["r1.1", "r1.1.v2"]
    void = next(event for event in events if event["type"] == "CUSTOM")
    assert void["name"] == "superseded"
    assert void["value"]["messageIds"] == ["r1.1"]
    snapshot = next(event for event in events if event["type"] == "MESSAGES_SNAPSHOT")
    assert [message["content"] for message in snapshot["messages"]] == ["Hel"]
    assert text_of(events) == ["Hello you"]


def test_given_an_empty_attempt_then_it_makes_void_what_was_shown_at_once() -> None:
    events = spoken(progress(5, 0, "Hal"), progress(6, 0))
    at = types(events).index("MESSAGES_SNAPSHOT")
    assert events[at]["messages"] == []
    assert text_of(events) == ["Hello you"]


@pytest.mark.parametrize(
    "between",
    [
        (progress(5, 0, "Hel"), progress(5, 2, "you")),
        (progress(5, 0, "Hel", "lo"), progress(5, 1, "lo", " you")),
        (progress(5, 3, "you"),),
        (),
    ],
    ids=["a gap", "an overlap", "only the end", "nothing"],
)
def test_given_progress_that_is_lost_or_repeated_then_the_whole_answer_mends_it(between: tuple[Fact, ...]) -> None:
    events = spoken(*between)
    assert text_of(events) == ["Hello you"]
    assert ids(events) == ["r1.1"]


@pytest.mark.parametrize("index", [10**15, 1, -1])
def test_given_a_call_whose_number_no_answer_has_then_the_whole_answer_alone_says_what_was_called(index: int) -> None:
    deltas = [Delta(call=CallPiece(index, "c", "look", "{}"))]
    fact = msgspec.structs.replace(progress(1, 0), data=msgspec.Raw(msgspec.json.encode(deltas)))
    events = spoken(fact)
    assert "TOOL_CALL_START" not in types(events)
    assert text_of(events) == ["Hello you"]


def test_given_an_answer_that_is_not_what_was_shown_then_it_is_superseded() -> None:
    events = spoken(progress(5, 0, "Something else"))
    assert ids(events) == ["r1.1", "r1.1.v2"]
    assert text_of(events) == ["Hello you"]


def test_given_state_that_is_set_then_it_is_a_delta_that_can_be_applied_wherever_the_reader_begins() -> None:
    facts = facts_of(told(Agent("desk"), says("Hi")))
    values: list[Any] = [{"a": 1}, None]
    states = [
        Fact("event", "StateSet", "c", "default", "session", "s1", data=msgspec.Raw(json.dumps(data).encode()))
        for data in [{"name": "a/b", "value": value} for value in values]
    ]
    before, within = translated([states[0], *facts]), translated([facts[0], states[1], *facts[1:]])
    add = {"op": "add", "path": "/a~1b", "value": {"a": 1}}
    assert next(event for event in before if event["type"] == "STATE_DELTA")["delta"] == [add]
    removed = [{"op": "add", "path": "/a~1b", "value": None}, {"op": "remove", "path": "/a~1b"}]
    assert next(event for event in within if event["type"] == "STATE_DELTA")["delta"] == removed


def test_given_a_history_then_its_messages_have_the_ids_under_which_they_were_shown() -> None:
    world = WORLDS["parallel"]()
    events = translated(facts_of(world))
    lines = world.query(session, "s1", "history", {}, type=list[Line])
    messages = messages_of(lines)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert messages[0]["id"] == "r1.user"
    assert [message["id"] for message in messages if message["role"] == "tool"] == [
        "r1.1.t1.result", "r1.1.t2.result"
    ]  # fmt: skip
    shown = {one["messageId"] for one in events if "messageId" in one}
    assert {message["id"] for message in messages if message["role"] != "assistant" or message["content"]} <= shown
    strange = [Line(1, Said("user", "a"), "r"), Line(2, Said("user", "b"), "r"), Line(3, Said("tool", "c"), "r")]
    assert len({message["id"] for message in messages_of(strange)}) == 3


def test_given_what_is_no_fact_of_ours_then_nothing_comes_of_it() -> None:
    translator = Translator("s1")
    for name in ("Began", "Over", "StateSet", "troupe.started", "troupe.step", "troupe.ended"):
        for kind in ("session", "other"):
            assert translator.take(Fact("event", name, "c", "default", kind, "s1", data=msgspec.Raw(b"[1]"))) == []

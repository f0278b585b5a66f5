"""Prompts: what is cut when there is no room, and that what was sent can be read from the log, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agents import Agent, tool
from actors.agents.hooks import Hooked, hook
from actors.memory import memory
from actors.memory.recalling import Remembers
from actors.models.asking import message_of
from actors.models.calling import Caller
from actors.models.current import Reach, using
from actors.models.fleet import Fleet, SlotSettings
from actors.models.wire import Message, ModelRequest
from actors.prompts import About, PromptSlot, lay
from actors.sessions import session
from actors.sessions.prompting import Sent
from actors.sessions.session import Heard
from actors.sessions.transcript import Line
from runtime import Rejected
from runtime.testing import World
from tests.support.model_server import Calls, ModelServer, Says


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        settings = SlotSettings(model="openai/stand-in", api_base=running.url)
        with using(Caller(Fleet({"generate": settings}), Reach())):
            yield running


@tool
async def refund(order: str) -> str:
    """Gives money back."""
    return f"refunded {order}"


@hook("model.before")
def polite(event: Hooked) -> ModelRequest:
    """Adds a message of its own."""
    request: ModelRequest = event.value
    return msgspec.structs.replace(request, messages=(*request.messages, Message("user", "Please.")))


def said(world: World, text: str, agent: str = "billing") -> str:
    heard: Heard = world.ask(session, "s1", "say", {"text": text, "agent": agent}, principal="alice", type=Heard)
    return heard.run


def sent(world: World, run: str, call: int = 0) -> Sent:
    found: Sent = world.query(session, "s1", "prompt", {"run": run, "call": call}, type=Sent)
    return found


def as_json(messages: list[Message]) -> str:
    return json.dumps([message_of(message) for message in messages])


def shout(slots: list[PromptSlot], about: About) -> list[PromptSlot]:
    """Middleware."""
    return [*slots, PromptSlot("shout", f"{about.user} said: {about.text.upper()}")]


def test_given_runs_when_their_prompts_are_read_from_the_log_then_they_are_what_the_server_was_sent(
    server: ModelServer,
) -> None:
    other = Agent("other", instructions="You are another.")
    billing = Agent(
        "billing", instructions="Be kind.", tools=[refund], hands_off_to=[other], memory=Remembers(learns=None),
        slots=[PromptSlot("hours", "We are open 9 to 5.")], middleware=[shout],
    )  # fmt: skip
    world = World(billing, other, Agent("hooked", hooks=[polite]), always_replay=True)
    world.ask(memory, "user/alice", "store", {"text": "alice wants a refund by card"})
    server.script(Says("Hello."), Calls("refund", '{"order": "A-7"}'), Calls("transfer_to_other"))
    server.script(Says("Done."), Says("Hi."))
    runs = [said(world, "Hello"), said(world, "A refund for A-7"), said(world, "Hello", "hooked")]
    world.ask(session, "s1", "prune", {"how": "keep_last", "keep": 1, "summary": "They met."})
    server.script(Says("Yes."))
    runs.append(said(world, "Are you there?"))
    calls = [(run, call) for run, many in zip(runs, (1, 3, 1, 1), strict=True) for call in range(1, many + 1)]
    assert len(server.requests) == len(calls)
    for (run, call), request in zip(calls, server.requests, strict=True):
        assert as_json(sent(world, run, call).messages) == json.dumps(request["messages"]), (run, call)
    assert sent(world, runs[1]).calls == 3
    assert sent(world, runs[1]).agent == "other"
    assert sent(world, runs[1], 1).memories == {"user/alice": ("m0000001",)}
    assert "alice said: A REFUND FOR A-7" in sent(world, runs[1], 1).messages[0].content
    assert "They met." in sent(world, runs[3]).messages[0].content
    with pytest.raises(Rejected, match="there is no call 9"):
        sent(world, runs[0], 9)
    with pytest.raises(Rejected, match="has no run 'x'"):
        sent(world, "x")


def test_given_a_run_of_several_calls_then_a_text_is_recorded_once(server: ModelServer) -> None:
    world = World(Agent("billing", instructions="Be very kind. " * 100, tools=[refund]))
    server.script(*[Calls("refund", '{"order": "A-7"}') for _ in range(5)], Says("Done."))
    said(world, "A refund")
    steps = [event.payload for event in world.log if event.type == "troupe.step"]
    assert sum(bytes(payload).count(b"Be very kind. Be") > 0 for payload in steps) == 1


def line(number: int, text: str, role: Any = "user") -> Line:
    return Line(number, Message(role, text), 0.0)


def test_given_too_little_room_when_laid_then_priority_says_what_is_cut() -> None:
    slots = [
        PromptSlot("instructions", "i" * 40, 100, "never"),
        PromptSlot("facts", "f" * 40, 80, "end"),
        PromptSlot("extra", "e" * 40, 10),
    ]
    lines = [line(number, "h" * 36) for number in range(1, 4)]  # 13 tokens each
    everything = lay(slots, lines, [], 100)
    assert (everything.cut, len(everything.lines)) == ((), 3)
    assert everything.system == "\n\n".join(["i" * 40, "f" * 40, "e" * 40])
    no_extra = lay(slots, lines, [], 62)
    assert (no_extra.cut, len(no_extra.lines)) == (("extra",), 3)
    less = lay(slots, lines, [], 50)
    assert (less.cut, [one.number for one in less.lines]) == (("extra", "history"), [2, 3])
    little = lay(slots, lines, [], 15)
    assert [one.number for one in little.lines] == [3]
    assert little.cut == ("extra", "facts", "history")
    assert little.slots[1].text.endswith("…")
    nothing = lay(slots, lines, [], 0)
    assert [slot.name for slot in nothing.slots] == ["instructions"]


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 100), st.sampled_from(["end", "whole"])), max_size=5),
    st.lists(st.integers(0, 100), min_size=1, max_size=6),
    st.integers(0, 200),
)
def test_given_any_slots_when_laid_then_what_can_be_cut_fits(
    parts: list[tuple[int, int, Any]], messages: list[int], tokens: int
) -> None:
    slots = [PromptSlot(str(at), "x" * size, priority, cut) for at, (size, priority, cut) in enumerate(parts)]
    lines = [line(number, "y" * size) for number, size in enumerate(messages, 1)]
    laid = lay(slots, lines, [], tokens)
    last = len(lines[-1].message.content) // 4 + 4
    taken = sum(len(slot.text) // 4 for slot in laid.slots)
    taken += sum(len(one.message.content) // 4 + 4 for one in laid.lines)
    assert taken <= max(tokens, 0) + last
    assert laid.lines[-1].number == len(lines)
    assert [slot.name for slot in laid.slots] == sorted(slot.name for slot in laid.slots)

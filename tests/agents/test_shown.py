"""What an agent shows while it works, in a World: pieces of answers by attempt, and what came of calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from actors.agents import Agent, tool
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet, SlotSettings
from actors.models.model import Target, Unavailable
from actors.models.wire import CallPiece, Completion, Delta, Message, ModelRequest, ToolCall
from actors.sessions.session import session
from runtime.testing import World
from runtime.world import World as Plain
from schemas.shown import Note, Thought


class Streaming:
    """A model that streams; each answer is its pieces and the whole, or an error after some pieces."""

    def __init__(self, *answers: list[Delta | Completion | Exception]) -> None:
        self.answers = list(answers)

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        for piece in self.answers.pop(0):
            if isinstance(piece, Exception):
                raise piece
            yield piece


def says(*pieces: str) -> list[Delta | Completion | Exception]:
    whole = Completion(Message("assistant", "".join(pieces)), "scripted")
    return [*[Delta(piece) for piece in pieces], whole]


def calls(name: str, arguments: str) -> list[Delta | Completion | Exception]:
    whole = Completion(Message("assistant", tool_calls=(ToolCall("c1", name, arguments),)), "scripted")
    return [Delta(call=CallPiece(0, "c1", name)), Delta(call=CallPiece(0, arguments=arguments)), whole]


@tool
def lookup(order: str) -> str:
    """Looks an order up."""
    return f"{order} is on its way"


def shown(world: Plain) -> list[tuple[str, int, list[Any]]]:
    """(step, occurrence, values) as they were shown."""
    return [(one.name, one.occurrence, msgspec.json.decode(one.data)) for _, one in world.progress]


def test_given_an_agent_that_calls_a_tool_then_pieces_calls_and_results_are_shown_in_order() -> None:
    model = Streaming(calls("lookup", '{"order": "A-7"}'), says("It is ", "coming."))
    desk = Agent("desk", tools=[lookup])
    world = Plain(session, desk)
    with using(Caller(Fleet(), lambda _: model)):
        world.ask(session, "s1", "say", {"text": "Where is A-7?", "agent": "desk"})
    assert shown(world) == [
        ("model", 0, [{"call": {"id": "c1", "name": "lookup"}}]),
        ("model", 0, [{"call": {"arguments": '{"order": "A-7"}'}}]),
        ("", 0, [{"call": "1.1", "name": "lookup", "text": "A-7 is on its way"}]),
        ("model", 1, [{"text": "It is "}]),
        ("model", 1, [{"text": "coming."}]),
    ]
    steps = [msgspec.json.decode(event.payload) for event in world.log if event.type == "troupe.step"]
    thoughts = [msgspec.convert(step["result"], Thought) for step in steps if step["step"] == "model"]
    assert [(one.message.content, len(one.message.tool_calls)) for one in thoughts] == [("", 1), ("It is coming.", 0)]


def test_given_a_model_that_breaks_off_then_what_it_had_said_is_void() -> None:
    model = Streaming([Delta("Hal"), Unavailable("first", "broke off")], says("Hello"))
    desk = Agent("desk")
    world = Plain(session, desk)
    fleet = Fleet({"generate": SlotSettings(model="first", fallbacks=("second",))})
    with using(Caller(fleet, lambda _: model)):
        world.ask(session, "s1", "say", {"text": "Hi", "agent": "desk"})
    attempts = [(one.attempt, msgspec.json.decode(one.data)) for _, one in world.progress]
    assert attempts == [(1, [{"text": "Hal"}]), (2, []), (2, [{"text": "Hello"}])]


def test_given_a_hand_off_and_a_tool_that_is_not_there_then_their_notes_say_so() -> None:
    expert, model = Agent("expert"), Streaming(calls("nothing", "{}"), calls("transfer_to_expert", "{}"), says("Yes."))
    desk = Agent("desk", hands_off_to=[expert])
    world = World(session, desk, expert, always_replay=True)
    with using(Caller(Fleet(), lambda _: model)):
        world.ask(session, "s1", "say", {"text": "Hi", "agent": "desk"})
    notes = [msgspec.convert(values[0], Note) for step, _, values in shown(world) if step == ""]
    assert [(note.call, note.name, note.failed, note.agent) for note in notes] == [
        ("1.1", "nothing", True, ""),
        ("2.1", "transfer_to_expert", False, "expert"),
    ]

"""Answers of a shape, plans, the fast path and the limit of time, in a World."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import pydantic
import pytest
from msgspec import Struct

from actors.agents import Agent, Limits, tool
from actors.approvals import approval
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.wire import Message, ToolCall
from actors.sessions.session import Answer, Task, session
from runtime import BadDefinition, Rejected, WorkflowKind
from runtime.testing import World
from tests.agents.scripted import Scripted


class Invoice(Struct):
    number: str
    total: float
    currency: Literal["EUR", "USD"] = "EUR"


class Parcel(pydantic.BaseModel):
    weight_kg: float = pydantic.Field(gt=0)


@pytest.fixture
def model() -> Iterator[Scripted]:
    scripted = Scripted()
    with using(Caller(Fleet(), lambda _: scripted)):
        yield scripted


def answered(agent: WorkflowKind, text: str = "Go", **options: Any) -> Answer:
    world = World(session, agent, always_replay=True)
    return world.ask(agent, "r1", "run", Task("", 0, text, **options), type=Answer)  # type: ignore[no-any-return]  # read as `type`


def test_given_a_shape_when_the_model_answers_in_it_then_the_answer_has_it_with_its_defaults(model: Scripted) -> None:
    model.says('```json\n{"number": "7", "total": 12}\n```')
    answer = answered(Agent("clerk", output=Invoice))
    assert answer.output == {"number": "7", "total": 12.0, "currency": "EUR"}
    assert model.asked[0].json_schema is not None


def test_given_an_answer_that_does_not_fit_when_it_comes_then_the_model_is_told_where_and_mends_it(
    model: Scripted,
) -> None:
    model.says("Certainly!", '{"weight_kg": -1}', '{"weight_kg": 2.5}')
    answer = answered(Agent("clerk", output=Parcel))
    assert answer.output == {"weight_kg": 2.5}
    said = [message.content for message in model.asked[2].messages if message.name == "validator"]
    assert "JSON is malformed" in said[0]
    assert "greater than 0" in said[1]


def test_given_a_model_that_never_mends_it_then_the_run_ends_after_so_many_repairs(model: Scripted) -> None:
    model.says(*["no"] * 9)
    with pytest.raises(Rejected, match="does not fit what it is to answer with, after 1 repairs"):
        answered(Agent("clerk", output=Invoice, limits=Limits(repairs=1)))
    assert len(model.asked) == 2


def test_given_a_type_that_no_json_can_be_when_an_agent_is_to_answer_with_it_then_it_is_no_definition() -> None:
    with pytest.raises(BadDefinition, match="agent 'clerk' cannot answer with"):
        Agent("clerk", output=asyncio.Task)


calls: list[str] = []


@tool
def look_up(order: str) -> str:
    """Looks an order up."""
    calls.append(order)
    return f"{order} is on its way"


def test_given_a_plan_that_is_asked_for_then_it_says_the_steps_and_takes_none(model: Scripted) -> None:
    calls.clear()
    model.says(json.dumps({"steps": [{"what": "see where it is", "tool": "look_up"}, {"what": "tell"}]}))
    answer = answered(Agent("clerk", tools=[look_up]), "Where is A-7?", plan=True)
    assert answer.output["steps"][0] == {"what": "see where it is", "tool": "look_up"}
    asked = model.asked[0]
    assert not asked.tools
    assert "- look_up: Looks an order up." in asked.messages[0].content
    assert asked.json_schema is not None
    assert asked.json_schema["$defs"]["PlannedStep"]["properties"]["tool"]["enum"] == ["", "look_up"]
    assert (answer.messages, calls) == ((), [])


def test_given_the_fast_path_when_the_one_tool_is_called_then_what_it_gives_is_the_answer(model: Scripted) -> None:
    model.calls("look_up", order="A-7")
    answer = answered(Agent("clerk", tools=[look_up], fast_path=True))
    assert answer.text == "A-7 is on its way"
    assert [message.role for message in answer.messages] == ["assistant", "tool", "assistant"]
    assert len(model.asked) == 1


def test_given_the_fast_path_when_the_call_fails_then_the_model_goes_on(model: Scripted) -> None:
    model.calls("look_up", wrong="A-7")
    model.says("I cannot.")
    assert answered(Agent("clerk", tools=[look_up], fast_path=True)).text == "I cannot."


def test_given_the_fast_path_when_there_is_more_than_one_tool_then_it_is_no_definition() -> None:
    with pytest.raises(BadDefinition, match="the fast path is for an agent with one tool"):
        Agent("clerk", tools=[look_up], hands_off_to=[Agent("other")], fast_path=True)


def test_given_the_fast_path_when_an_answer_of_a_shape_is_wanted_then_it_is_no_definition() -> None:
    with pytest.raises(BadDefinition, match="on the fast path the answer is what the tool gives"):
        Agent("clerk", tools=[look_up], output=list[str], fast_path=True)


def test_given_a_limit_of_time_when_it_is_over_then_the_run_ends_and_what_it_waited_for_is_taken_back(
    model: Scripted,
) -> None:
    careful = tool(confirmation=True)(look_up.fn)
    model.answers.append(Message("assistant", tool_calls=(ToolCall("c", "look_up", '{"order": "A"}'),)))
    agent = Agent("clerk", tools=[careful], limits=Limits(seconds=60))
    world = World(session, agent, approval, always_replay=True)
    with pytest.raises(Rejected, match="has worked for 60 s: that is the limit"):
        world.ask(agent, "r1", "run", Task("", 0, "Go"), type=Answer)
    ended = [event for event in world.log if event.kind == approval.name][-1]
    assert b"withdrawn" in bytes(ended.payload)

"""The model that is built in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from actors.agents.planning import schema_for
from actors.models.model import Target
from actors.models.offline import OfflineModel, answer
from actors.models.wire import Completion, Delta, Message, ModelRequest, ToolCall, ToolSpec
from actors.words import words


def tool(name: str, description: str, required: list[str], **properties: Any) -> ToolSpec:
    return ToolSpec(name, description, {"type": "object", "properties": properties, "required": required})


REFUND = tool(
    "refund_order", "Gives the money of an order back", ["order", "amount"],
    order={"type": "string"}, amount={"type": "number"},
)  # fmt: skip
WEATHER = tool("get_weather", "Tells the weather of a city", ["city"], city={"type": "string"})
ADD = tool("add", "Adds two numbers", ["a", "b"], a={"type": "integer"}, b={"type": "integer"})
TOOLS = (REFUND, WEATHER, ADD)


def said(text: str, *tools: ToolSpec) -> Message:
    return answer(ModelRequest((Message("user", text),), tools or TOOLS))


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("Refund 12.50 for order A-7 please", "refund_order", {"order": "A-7", "amount": 12.5}),
        ("What is the weather in the city 'New York'?", "get_weather", {"city": "New York"}),
        ("Could you add 40 and 2?", "add", {"a": 40, "b": 2}),
    ],
)
def test_given_tools_when_one_shares_words_with_what_is_said_then_it_is_called(
    text: str, name: str, arguments: dict[str, Any]
) -> None:
    (call,) = said(text).tool_calls
    assert (call.name, json.loads(call.arguments)) == (name, arguments)


def test_given_a_tool_whose_arguments_are_not_there_when_it_fits_then_they_are_asked_for() -> None:
    assert said("Add something").content == "[offline model] add needs to know: a, b."


def test_given_nothing_that_fits_when_something_is_said_then_it_says_that_it_is_offline() -> None:
    assert said("Good morning").content == "[offline model] You said: Good morning"
    assert answer(ModelRequest(())).content == "[offline model] Say something."


def test_given_results_of_tools_when_it_goes_on_then_it_tells_them() -> None:
    calls = (ToolCall("1", "add"), ToolCall("2", "add"))
    messages = (
        Message("user", "Add 1 and 2"), Message("assistant", tool_calls=calls),
        Message("tool", "3", tool_call_id="1"), Message("tool", "4", tool_call_id="2"),
    )  # fmt: skip
    assert answer(ModelRequest(messages, TOOLS)).content == "[offline model] 3 4"


def test_given_a_schema_when_it_is_asked_for_json_then_the_answer_conforms() -> None:
    schema = {
        "type": "object",
        "properties": {
            "number": {"type": "string"}, "total": {"type": "number"}, "paid": {"type": "boolean"},
            "currency": {"enum": ["EUR", "USD"]}, "lines": {"type": "array"},
        },
        "required": ["number", "total", "paid", "currency", "lines"],
    }  # fmt: skip
    request = ModelRequest((Message("user", "Invoice number A7 of 99.5 USD"),), json_schema=schema)
    assert json.loads(answer(request).content) == {
        "number": "A7", "total": 99.5, "paid": False, "currency": "USD", "lines": []
    }  # fmt: skip


def test_given_an_answer_when_it_is_streamed_then_its_pieces_are_the_whole() -> None:
    async def pieces() -> list[Delta | Completion]:
        request = ModelRequest((Message("user", "one  two\nthree"),))
        return [piece async for piece in OfflineModel().stream(Target("offline"), request)]

    *parts, whole = asyncio.run(pieces())
    assert isinstance(whole, Completion)
    assert "".join(part.text for part in parts if isinstance(part, Delta)) == whole.message.content
    assert whole.usage.cost_usd == 0.0


def test_given_words_when_they_are_compared_then_endings_accents_and_empty_words_do_not_count() -> None:
    assert words("The refunded ORDERS, please!") == words("refunds order")
    assert words("Café") == words("cafe")


def test_given_a_plan_that_is_asked_for_then_it_has_a_step_with_the_tool_that_was_named() -> None:
    schema = schema_for([ToolSpec("refund", "Gives money back.", {}), ToolSpec("look_up", "Looks.", {})])
    said = answer(ModelRequest((Message("user", "Please refund order A7"),), (), schema))
    assert json.loads(said.content) == {"steps": [{"what": "Please refund order A7", "tool": "refund"}]}

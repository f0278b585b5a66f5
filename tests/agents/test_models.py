"""Asking models by litellm, and without it, on a server that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from actors.models.calling import Caller
from actors.models.direct import Direct, is_direct
from actors.models.fleet import Fleet, SlotSettings
from actors.models.model import Garbled, Model, ModelError, NoAnswer, RateLimited, Refused, Target, Unavailable
from actors.models.reached import LiteLLM
from actors.models.wire import Anew, CallPiece, Completion, Delta, Message, ModelRequest, ToolCall, ToolSpec, Usage
from tests.support.model_server import BreaksOff, Calls, Fails, Garbage, Hangs, ModelServer, Reply, Says, Stops

ADD = ToolSpec("add", "Adds two numbers", {"type": "object", "properties": {"a": {"type": "integer"}}})
HELLO = ModelRequest((Message("system", "Be kind."), Message("user", "Hi")), (ADD,))


@pytest.fixture(scope="module", params=[LiteLLM, Direct], ids=["litellm", "direct"])
def reached(request: pytest.FixtureRequest) -> Model:
    made: Model = request.param()
    return made


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def asked(
    server: ModelServer, reached: Model, *replies: Reply, timeout_s: float = 30.0, waits: list[float] | None = None
) -> list[Any]:
    """Every piece of the answer to HELLO when the server answers with these."""
    server.script(*replies)
    generate = SlotSettings(model="openai/stand-in", api_base=server.url, timeout_s=timeout_s)

    async def pause(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async def scenario() -> list[Any]:
        caller = Caller(Fleet({"generate": generate}), lambda _: reached, pause)
        return [piece async for piece in caller.stream("generate", HELLO)]

    return asyncio.run(scenario())


def test_given_a_text_when_it_is_asked_for_then_it_comes_in_pieces_and_as_a_whole(
    server: ModelServer, reached: Model
) -> None:
    *pieces, whole = asked(server, reached, Says("Hello, you!"))
    assert pieces == [Delta("Hell"), Delta("o, y"), Delta("ou!")]
    assert whole == Completion(Message("assistant", "Hello, you!"), "stand-in", "stop", Usage(11, 7))
    sent = server.requests[0]
    assert sent["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert sent["tools"][0]["function"]["name"] == "add"


def test_given_a_tool_call_in_pieces_when_it_has_come_then_it_is_whole(server: ModelServer, reached: Model) -> None:
    *pieces, whole = asked(server, reached, Calls("add", '{"a": 41}'))
    assert [piece.call.arguments for piece in pieces] == ['{"a"', ": 41}"]
    assert pieces[0].call == CallPiece(0, "call_1", "add", '{"a"')
    assert whole.message.tool_calls == (ToolCall("call_1", "add", '{"a": 41}'),)
    assert whole.finish == "tool_calls"


def test_given_an_answer_that_breaks_off_when_it_is_asked_anew_then_what_came_is_void(
    server: ModelServer, reached: Model
) -> None:
    pieces = asked(server, reached, BreaksOff("Hello, wor"), Says("Hello"))
    marks = [at for at, piece in enumerate(pieces) if isinstance(piece, Anew)]
    assert len(marks) == 1
    assert "".join(piece.text for piece in pieces[marks[0] + 1 : -1]) == "Hello"
    assert pieces[-1].message.content == "Hello"
    assert server.calls == 2


def test_given_a_rate_limit_when_it_says_for_how_long_then_so_long_is_waited(
    server: ModelServer, reached: Model
) -> None:
    waits: list[float] = []
    pieces = asked(server, reached, Fails(429, "7"), Fails(429), Says("Hello"), waits=waits)
    assert pieces[-1].message.content == "Hello"
    assert waits == [7.0, 2.0]
    assert server.calls == 3


@pytest.mark.parametrize(
    ("replies", "failure", "calls"),
    [
        ((Fails(429, "3600"),), RateLimited, 1),
        ((Fails(400),), Refused, 1),
        ((Fails(401),), Refused, 1),
        ((Fails(500), Fails(503)), Unavailable, 2),
        ((Garbage(), Garbage()), ModelError, 2),
        ((Stops(), Stops()), Garbled, 2),
        ((BreaksOff("a"), BreaksOff("b")), Unavailable, 2),
    ],
)
def test_given_a_model_that_fails_when_nobody_else_is_there_then_the_error_says_why(
    server: ModelServer, reached: Model, replies: tuple[Reply, ...], failure: type[ModelError], calls: int
) -> None:
    with pytest.raises(NoAnswer, match="model 'openai/stand-in'") as raised:
        asked(server, reached, *replies)
    assert [type(one) for one in raised.value.failures] == [failure] or failure is ModelError
    assert server.calls == calls


def test_given_a_model_that_hangs_when_its_time_is_over_then_the_fallback_answers(
    server: ModelServer, reached: Model
) -> None:
    server.script(Hangs(), Hangs(), Says("Hello from the other"))
    with ModelServer() as other:
        other.script(Says("Hello from the other"))
        generate = SlotSettings(
            model="openai/stand-in", api_base=server.url, timeout_s=0.2, fallbacks=("offline",)
        )

        async def scenario() -> Completion:
            from actors.models.offline import OfflineModel

            offline = OfflineModel()
            caller = Caller(
                Fleet({"generate": generate}), lambda target: offline if target.model == "offline" else reached
            )
            return await caller.complete("generate", ModelRequest((Message("user", "Hi"),)))

        answer = asyncio.run(scenario())
    assert answer.model == "offline"
    assert answer.message.content == "[offline model] You said: Hi"


def test_given_a_target_when_it_needs_translating_then_it_is_not_asked_without_litellm() -> None:
    here = "http://127.0.0.1:1/v1"
    assert is_direct(Target("openai/own", here, options={"top_p": 0.5}))
    assert not is_direct(Target("openai/gpt-4o"))
    assert not is_direct(Target("anthropic/claude-sonnet-4-5", here))
    assert not is_direct(Target("openai/own", here, options={"drop_params": True}))


def test_given_a_model_with_a_price_when_it_is_asked_without_litellm_then_it_costs_what_litellm_says(
    server: ModelServer,
) -> None:
    server.script(Says("Hello"))
    target = Target("openai/gpt-4o-mini", server.url)

    async def scenario() -> Any:
        return [piece async for piece in Direct().stream(target, HELLO)][-1]

    cost = asyncio.run(scenario()).usage.cost_usd
    assert cost == pytest.approx(LiteLLM().cost_usd("openai/gpt-4o-mini", 11, 7))
    assert cost > 0

"""Agents and sessions in a World: no server, every step crashed at once and begun anew."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from actors.agents import Agent, Limits, Tool, ToolContext, hosted, tool
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.wire import Completion, Delta, Message, ModelRequest, ToolCall
from actors.sessions.session import Answer, Heard, Task, session
from actors.sessions.transcript import Line
from runtime import Rejected
from runtime.testing import World
from schemas.control import Ended
from schemas.conversation import run_key
from schemas.headers import MAX_ID_LENGTH
from tests.agents.scripted import Scripted
from tests.support.kinds import counter


@pytest.fixture
def model() -> Iterator[Scripted]:
    scripted = Scripted()
    with using(Caller(Fleet(), lambda _: scripted)):
        yield scripted


done: list[tuple[str, float, str]] = []


@tool
async def refund(order: str, amount: float, ctx: ToolContext) -> str:
    """Gives money back.

    Args:
        order: its number.
    """
    done.append((order, amount, ctx.key))
    return f"refunded {amount:g} of {order}"


def world(*kinds: Any) -> World:
    done.clear()
    return World(session, *kinds, always_replay=True)


def said(world: World, text: str, **options: Any) -> Heard:
    heard: Heard = world.ask(session, "s1", "say", {"text": text, "agent": "billing"} | options, type=Heard)
    return heard


def lines(world: World) -> list[tuple[str, str]]:
    found = world.query(session, "s1", "history", {}, type=list[Line])
    return [(line.message.role, line.message.content) for line in found]


def test_given_a_message_when_it_is_said_then_the_agent_answers_with_its_tools_and_each_is_called_once(
    model: Scripted,
) -> None:
    model.calls("refund", order="A-7", amount=12.5)
    model.says("It is done.")
    known = world(Agent("billing", instructions="Be kind.", tools=[refund]))
    said(known, "Refund my order A-7")
    assert lines(known) == [
        ("user", "Refund my order A-7"),
        ("assistant", ""),
        ("tool", "refunded 12.5 of A-7"),
        ("assistant", "It is done."),
    ]
    assert len(done) == 1
    assert len(model.asked) == 2
    first, second = model.asked
    assert [message.content for message in first.messages] == ["Be kind.", "Refund my order A-7"]
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]


def test_given_a_conversation_when_it_goes_on_then_the_agent_is_told_of_all_and_the_log_of_what_is_new(
    model: Scripted,
) -> None:
    known = world(Agent("billing"))
    model.says(*[f"answer {number}" for number in range(1, 31)])
    sizes = []
    for number in range(1, 31):
        said(known, f"question {number}")
        sizes.append(sum(len(event.payload) for event in known.log if event.kind == "session"))
    assert [message.content for message in model.asked[-1].messages][-3:] == ["question 29", "answer 29", "question 30"]
    grown = [after - before for before, after in itertools.pairwise(sizes)]
    assert max(grown) < 1.1 * min(grown)


def test_given_an_agent_at_work_when_more_is_said_then_it_waits_its_turn(model: Scripted) -> None:
    model.says("one", "two")
    known = world(Agent("billing"))
    said(known, "first")
    said(known, "second")
    assert lines(known) == [("user", "first"), ("assistant", "one"), ("user", "second"), ("assistant", "two")]


@pytest.mark.parametrize("agent", ["", "a b", "a.b", "*", ">", "x" * 300])
def test_given_no_name_of_an_agent_when_something_is_said_to_it_then_it_is_refused(model: Scripted, agent: str) -> None:
    known = world(Agent("billing"))
    with pytest.raises(Rejected, match="there can be no agent of that name"):
        said(known, "Hello", agent=agent)
    assert lines(known) == []


def test_given_ids_as_long_as_may_be_when_something_is_said_then_it_is_answered(model: Scripted) -> None:
    model.says("Hi.")
    known = world(Agent("billing"))
    known.ask(session, "s" * 200, "say", {"text": "Hello", "agent": "billing"}, id="i" * MAX_ID_LENGTH)
    assert len(known.query(session, "s" * 200, "history", {}, type=list[Line])) == 2


def test_given_a_model_that_repeats_the_ids_of_its_calls_when_tools_are_called_then_each_call_has_a_key_of_its_own(
    model: Scripted,
) -> None:
    same = ToolCall("c", "refund", '{"order": "A", "amount": 1}')
    model.answers += [Message("assistant", tool_calls=(same, same)), Message("assistant", tool_calls=(same,))]
    model.says("done")
    said(world(Agent("billing", tools=[refund])), "Refund")
    assert len({key for _, _, key in done}) == 3


@pytest.mark.parametrize("key", ["", "\0", "x" * 300])
def test_given_a_key_that_none_can_be_when_a_model_gives_it_then_it_is_told(model: Scripted, key: str) -> None:
    model.calls("counter_add", key=key, amount=3)
    model.says("Sorry.")
    known = world(Agent("billing", tools=[hosted(counter, "add", description="Adds")]), counter)
    said(known, "Add")
    assert lines(known)[-2][1].startswith("error: counter_add needs to know which")


def test_given_a_hand_off_when_it_is_made_then_the_other_agent_goes_on_with_everything(model: Scripted) -> None:
    technical = Agent("technical", instructions="You mend.")
    model.calls("transfer_to_technical")
    model.says("Turn it off and on.")
    known = world(Agent("billing", instructions="You bill.", hands_off_to=[technical]), technical)
    said(known, "It does not work")
    assert lines(known)[-1] == ("assistant", "Turn it off and on.")
    assert model.asked[1].messages[0].content == "You mend."
    assert [message.role for message in model.asked[1].messages] == ["system", "user", "assistant", "tool"]


def test_given_an_agent_as_a_tool_when_it_is_called_then_its_answer_is_the_tools(model: Scripted) -> None:
    expert = Agent("expert", instructions="You know.")
    model.calls("expert", request="How tall is it?")
    model.says("330 m", "It is 330 m tall.")
    known = world(Agent("billing", tools=[expert]), expert)
    said(known, "How tall?")
    assert lines(known)[-2:] == [("tool", "330 m"), ("assistant", "It is 330 m tall.")]
    assert [message.content for message in model.asked[1].messages] == ["You know.", "How tall is it?"]


def test_given_an_actors_method_as_a_tool_when_it_is_called_then_the_actor_does_it(model: Scripted) -> None:
    model.calls("counter_add", key="a", amount=3)
    model.says("done")
    known = world(Agent("billing", tools=[hosted(counter, "add", description="Adds")]), counter)
    said(known, "Add three to a")
    assert lines(known)[-2:] == [("tool", "3"), ("assistant", "done")]


def test_given_a_query_as_a_tool_when_it_is_called_then_it_is_answered_from_what_is_committed(model: Scripted) -> None:
    model.calls("counter_add", key="a", amount=3)
    model.calls("counter_value", key="a")
    model.says("three")
    tools = [hosted(counter, "add", description="Adds"), hosted(counter, "value", description="Tells")]
    known = world(Agent("billing", tools=tools), counter)
    said(known, "Add three to a, and tell")
    assert lines(known)[-2:] == [("tool", "3"), ("assistant", "three")]


@pytest.mark.parametrize(
    ("value", "said_of_it"), [(b"\xff" * 9, "9 bytes"), ("x" * 10_000_000, "[cut: 10000000 bytes")]
)
def test_given_a_tool_that_gives_bytes_or_too_much_when_it_is_called_then_the_model_is_told_so(
    model: Scripted, value: Any, said_of_it: str
) -> None:
    @tool
    def give() -> Any:
        """Gives."""
        return value

    model.calls("give")
    model.says("Well.")
    known = world(Agent("billing", tools=[give]))
    said(known, "Give")
    told = lines(known)[-2][1]
    assert said_of_it in told
    assert len(told) < 70_000


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nobody", {}, "error: there is no tool 'nobody'; there is refund"),
        ("refund", {"order": "A"}, "error: the arguments of refund do not fit: Object missing required field `amount`"),
        ("refund", {"order": "A", "amount": "much"}, "Expected `float`, got `str`, at $.amount"),
    ],
)
def test_given_a_wrong_call_when_the_model_makes_it_then_it_is_told_and_may_try_again(
    model: Scripted, name: str, arguments: dict[str, Any], told: str
) -> None:
    model.calls(name, **arguments)
    model.says("Sorry.")
    known = world(Agent("billing", tools=[refund]))
    said(known, "Hello")
    assert told in lines(known)[-2][1]
    assert not done


def test_given_a_model_that_calls_wrongly_for_ever_when_it_does_then_the_run_ends_and_says_why(
    model: Scripted,
) -> None:
    for _ in range(9):
        model.calls("nobody")
    model.says("never")
    known = world(Agent("billing", limits=Limits(bad_calls=2)))
    said(known, "Hello")
    over = known.events(session, "s1")[-1]
    assert "called its tools wrongly 3 times in a row" in over.error.message
    assert len(model.asked) == 3


def test_given_a_model_that_loops_when_its_iterations_are_over_then_the_run_ends(model: Scripted) -> None:
    for _ in range(9):
        model.calls("refund", order="A", amount=1)
    known = world(Agent("billing", tools=[refund], max_iterations=2))
    said(known, "Hello")
    assert "has asked its model 2 times" in known.events(session, "s1")[-1].error.message


def test_given_a_limit_of_tokens_when_it_is_passed_then_the_run_ends(model: Scripted) -> None:
    for _ in range(9):
        model.calls("refund", order="A", amount=1)
    known = world(Agent("billing", tools=[refund], limits=Limits(tokens=20)))
    said(known, "Hello")
    assert "took 30 tokens: 20 is the limit" in known.events(session, "s1")[-1].error.message


def test_given_a_tool_that_raises_when_it_is_called_then_the_model_is_told(model: Scripted) -> None:
    @tool
    def explode() -> None:
        """Explodes."""
        raise ValueError("boom")

    model.calls("explode")
    model.says("It broke.")
    known = world(Agent("billing", tools=[explode]))
    said(known, "Hello")
    assert "boom" in lines(known)[-2][1]
    assert lines(known)[-1] == ("assistant", "It broke.")


def test_given_a_sentence_without_a_session_when_an_agent_is_run_then_it_answers(model: Scripted) -> None:
    model.says("Hi.")
    billing = Agent("billing", instructions="Be kind.")
    answer = world(billing).ask(billing, "r1", "run", Task("", 0, "Hello"), type=Answer)
    assert answer.text == "Hi."
    assert [message.content for message in model.asked[0].messages] == ["Be kind.", "Hello"]


def test_given_a_tool_when_a_model_is_told_of_it_then_by_its_annotations_and_its_docstring() -> None:
    assert refund.spec.description == "Gives money back."
    assert refund.spec.parameters == {
        "type": "object",
        "properties": {"order": {"type": "string", "description": "its number."}, "amount": {"type": "number"}},
        "required": ["order", "amount"],
        "additionalProperties": False,
    }


def test_given_fixed_arguments_when_a_tool_is_made_then_the_model_is_not_told_of_them() -> None:
    @tool(name="mail", currency="EUR")
    def send(to: str, currency: str) -> str:
        """Sends."""
        return f"{to} {currency}"

    assert isinstance(send, Tool)
    assert (send.name, list(send.spec.parameters["properties"])) == ("mail", ["to"])


def test_given_a_message_that_waits_behind_somebody_elses_run_when_it_is_answered_then_with_its_sayers_rights(
    model: Scripted,
) -> None:
    asked: list[tuple[str | None, tuple[str, ...]]] = []

    @tool
    async def whose(ctx: ToolContext) -> str:
        asked.append((ctx.principal, ctx.roles))
        return "known"

    model.calls("whose")
    model.says("Done.")
    known = world(Agent("billing", tools=[whose]))
    first = {"text": "Hi", "agent": "away"}
    begun = known.ask(session, "s1", "say", first, principal="ann", roles=("admin",), type=Heard)
    known.ask(session, "s1", "say", {"text": "Hi", "agent": "billing"}, principal="bob", roles=("guest",))
    key = run_key("s1", begun.run)
    told = Ended(begun.run, "away", key, "run", {"text": "Hello"})
    known.ask(session, "s1", "over", told, principal="ann", roles=("admin",), sender=("away", key))
    assert asked == [("bob", ("guest",))]


def test_given_a_model_that_calls_a_tool_of_an_endless_name_when_it_is_told_then_the_run_goes_on(
    model: Scripted,
) -> None:
    model.calls("n" * 600_000)
    model.says("I see.")
    known = world(Agent("billing", tools=[refund]))
    said(known, "Hi")
    assert lines(known)[-1] == ("assistant", "I see.")
    assert len(lines(known)[-2][1]) < 200


def test_given_arguments_that_nest_too_deep_when_an_agent_is_called_then_the_model_is_told(model: Scripted) -> None:
    model.answers.append(
        Message("assistant", tool_calls=(ToolCall("c", "expert", '{"request": ' + "[" * 100_000),))
    )
    model.says("I see.")
    known = world(Agent("billing", tools=[Agent("expert")]))
    said(known, "Hi")
    assert lines(known)[-1] == ("assistant", "I see.")
    assert "the arguments of expert are no JSON object" in lines(known)[-2][1]


@pytest.mark.parametrize("text", ["\ud83d\ude00", "half of it: \ud83d"])
def test_given_an_answer_that_is_no_unicode_when_it_is_recorded_then_it_is_mended(model: Scripted, text: str) -> None:
    model.says(text)
    known = world(Agent("billing"))
    said(known, "Hi")
    assert lines(known)[-1] == ("assistant", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def test_given_a_question_that_cannot_be_answered_whether_to_ask_a_person_when_a_tool_is_called_then_the_model_is_told(
    model: Scripted,
) -> None:
    careful = tool(name="careful", confirmation=lambda given: bool(given["nothing"]))(refund.fn)
    model.calls("careful", order="A", amount=1)
    model.says("I see.")
    known = world(Agent("billing", tools=[careful]))
    said(known, "Hi")
    assert lines(known)[-1] == ("assistant", "I see.")
    assert "KeyError" in lines(known)[-2][1]
    assert not done


def test_given_a_tool_that_is_cancelled_from_within_when_it_is_called_then_the_model_is_told(model: Scripted) -> None:
    @tool
    async def given_up() -> None:
        raise asyncio.CancelledError

    model.calls("given_up")
    model.says("I see.")
    known = world(Agent("billing", tools=[given_up]))
    said(known, "Hi")
    assert lines(known)[-1] == ("assistant", "I see.")
    assert "was cancelled" in lines(known)[-2][1]


async def at_once(request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
    text = "x" * 1_000_000
    yield Delta(text)
    yield Completion(Message("assistant", text), "m")


def test_given_a_model_that_says_a_megabyte_at_once_when_it_is_heard_then_it_is_the_answer() -> None:
    class AtOnce:
        def stream(self, _: Any, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
            return at_once(request)

    with using(Caller(Fleet(), lambda _: AtOnce())):
        known = world(Agent("billing"))
        said(known, "Hi")
    assert len(lines(known)[-1][1]) == 1_000_000

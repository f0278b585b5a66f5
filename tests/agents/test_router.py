"""The router in a World: who is picked, when it asks back, and what it says when nothing fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.agents import Agent
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet, SlotSettings
from actors.models.model import ModelError, Unavailable
from actors.models.offline import OfflineModel
from actors.models.wire import Completion, Message
from actors.router.evaluation import evaluate, load
from actors.router.router import FORGET_AFTER_S, Routed, Router
from actors.sessions.session import Heard, session
from actors.sessions.transcript import Line
from runtime import Rejected, Workflow, workflow
from runtime.testing import World
from schemas.wire import Skill

UTTERANCES = Path(__file__).parent / "evaluation" / "utterances.yaml"

refund = Agent(
    "refund", description="Gives the money of an order back.", examples=["I want my money back", "refund my order"]
)
weather = Agent("weather", description="Tells the weather.", examples=["will it rain tomorrow", "weather in Oslo"])
parcel = Agent("parcel", description="Tells where a parcel is.", examples=["where is my parcel", "track my order"])


class Choosing:
    """A model that answers with these texts, or raises these errors, in order; the agents' one is the offline model."""

    def __init__(self) -> None:
        self.answers: list[str | ModelError] = []
        self.asked: list[Any] = []

    async def stream(self, target: Any, request: Any) -> Any:
        self.asked.append(request)
        answer = self.answers[len(self.asked) - 1]
        if isinstance(answer, ModelError):
            raise answer
        yield Completion(Message("assistant", answer), target.model)


@pytest.fixture
def model() -> Iterator[Choosing]:
    """A fleet whose slot `classify` is a model."""
    choosing, offline = Choosing(), OfflineModel()
    fleet = Fleet({"classify": SlotSettings(model="openai/chooser"), "generate": SlotSettings(model="offline")})
    with using(Caller(fleet, lambda target: offline if target.model == "offline" else choosing)):
        yield choosing


@pytest.fixture(autouse=True)
def offline() -> Iterator[None]:
    with using(Caller(Fleet(), lambda _: OfflineModel())):
        yield


def world(*kinds: Any) -> World:
    return World(*(kinds or (refund, weather, parcel)), always_replay=True)


def say(world: World, text: str, session_id: str = "s1") -> Line:
    """Says it, and gives what was answered last."""
    world.ask(session, session_id, "say", {"text": text}, type=Heard)
    found: list[Line] = world.query(session, session_id, "history", {}, type=list[Line])
    return found[-1]


def routed(world: World) -> Routed:
    """What the last choice of a router was."""
    steps = [msgspec.json.decode(event.payload) for event in world.log if event.kind == "router"]
    return msgspec.convert([step["result"] for step in steps if step.get("step") == "route"][-1], Routed)


def test_given_utterances_held_out_when_the_words_classify_them_then_four_of_five_are_right() -> None:
    report = evaluate(load(UTTERANCES))
    assert (report.fitting, report.nothing) == (200, 20)
    assert report.accuracy >= 0.8


def test_given_a_sentence_when_one_capability_fits_then_that_one_answers() -> None:
    known = world()
    said = say(known, "Will it rain in Oslo?")
    assert (said.message.name, said.message.content) == ("weather", "[offline model] You said: Will it rain in Oslo?")
    assert routed(known).choice.by == "words"  # type: ignore[union-attr]  # it has chosen


def test_given_a_conversation_when_each_message_means_another_capability_then_each_answers() -> None:
    known = world()
    names = [say(known, text).message.name for text in ("weather in Oslo", "I want my money back", "track my parcel")]
    assert names == ["weather", "refund", "parcel"]


def test_given_a_sentence_when_nothing_fits_then_it_says_what_there_is() -> None:
    text = say(world(), "xyzzy").message.content
    assert text.splitlines()[0] == "Nothing here fits that. What there is:"
    assert "- refund: Gives the money of an order back." in text.splitlines()


def test_given_no_capability_when_something_is_said_then_it_says_so() -> None:
    assert "no capability is served" in say(world(session, Router()), "hello").message.content


def test_given_a_sentence_when_two_may_be_meant_then_it_asks_back_and_takes_the_answer() -> None:
    known = world()
    asked = say(known, "my order").message
    assert asked.name == "router"
    assert "refund" in asked.content
    assert "parcel" in asked.content
    answered = say(known, "the parcel, please").message
    assert answered.name == "parcel"


def test_given_a_question_of_a_capability_when_it_is_answered_in_strange_words_then_it_gets_the_answer() -> None:
    @workflow
    async def survey(ctx: Workflow, session: str, upto: int, text: str) -> str:
        return "Which number?" if "survey" in text else f"noted {text}"

    survey.skill = Skill("Fills in a survey.", ("start the survey",))
    known = world(survey, session, Router())
    assert say(known, "start the survey").message.content == "Which number?"
    assert say(known, "zz-17").message.content == "noted zz-17"


def test_given_a_fallback_when_nothing_fits_then_it_answers() -> None:
    general = Agent("general")
    known = world(refund, general, Router(fallback="general"))
    assert say(known, "tell me a joke").message.name == "general"


def test_given_a_capability_that_joins_later_when_it_is_meant_then_it_is_known_without_a_restart() -> None:
    known = world(refund)
    assert "Nothing here fits" in say(known, "will it rain tomorrow").message.content
    known.serve(weather)
    assert say(known, "will it rain tomorrow").message.name == "weather"


def test_given_a_capability_that_nobody_serves_when_it_is_for_long_then_it_is_forgotten() -> None:
    rule, there = Router(), weather.capability("g", "1")
    gone = weather.capability("g", "1")
    gone.served = False
    assert [one.name for one in rule._offered([gone], 100.0)] == ["weather"]
    assert [one.name for one in rule._offered([gone], 99.0 + FORGET_AFTER_S)] == ["weather"]
    assert rule._offered([gone], 100.0 + FORGET_AFTER_S) == []
    assert [one.name for one in rule._offered([there], 200.0)] == ["weather"]
    assert [one.name for one in rule._offered([gone], 201.0)] == ["weather"]


def test_given_a_capability_that_answers_with_what_is_no_answer_then_the_run_says_so() -> None:
    @workflow
    async def broken(ctx: Workflow, session: str, upto: int, text: str) -> int:
        return 7

    broken.skill = Skill("Breaks.", ("break it",))
    known = world(broken, session, Router())
    known.ask(session, "s1", "say", {"text": "break it"})
    assert "capability 'broken' gives what is no answer" in known.events(session, "s1")[-1].error.message


def test_given_a_name_that_nobody_has_when_something_is_said_to_it_then_it_is_refused() -> None:
    with pytest.raises(Rejected, match="there can be no agent of that name"):
        world().ask(session, "s1", "say", {"text": "hello", "agent": "a.b"})


# -- with a model -----------------------------------------------------------------------------------------------------


def test_given_a_model_when_it_chooses_then_its_choice_counts_and_is_recorded(model: Choosing) -> None:
    model.answers = [json.dumps({"name": "weather", "confidence": 0.9})]
    known = world()
    assert say(known, "my money").message.name == "weather"
    assert routed(known).choice.by == "openai/chooser"  # type: ignore[union-attr]  # it has chosen
    request = model.asked[0]
    assert request.json_schema["properties"]["name"]["enum"] == ["parcel", "refund", "weather", "none"]
    assert "- refund: Gives the money of an order back." in request.messages[0].content


@pytest.mark.parametrize("garbage", ["", "I think refund", '{"name": "nobody", "confidence": 1}', '{"name": 3}', "{[}"])
def test_given_a_model_that_answers_garbage_when_it_is_told_then_it_may_mend_it(model: Choosing, garbage: str) -> None:
    model.answers = [garbage, '```json\n{"name": "refund", "confidence": 1}\n```']
    known = world()
    assert say(known, "anything").message.name == "refund"


def test_given_a_model_that_answers_garbage_for_ever_when_it_does_then_the_words_decide(model: Choosing) -> None:
    model.answers = ["no", "nothing at all"]
    known = world()
    assert say(known, "will it rain tomorrow").message.name == "weather"
    choice = routed(known).choice
    assert choice is not None
    assert (choice.by, "what is no choice" in choice.why) == ("words", True)


def test_given_a_model_that_is_out_of_reach_when_it_is_asked_then_the_words_decide(model: Choosing) -> None:
    model.answers = [Unavailable("openai/chooser", "is away")] * 2
    known = world()
    assert say(known, "will it rain tomorrow").message.name == "weather"
    assert "is away" in routed(known).choice.why  # type: ignore[union-attr]  # it has chosen


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"name": "none", "confidence": 1.0}, "Nothing here fits that"),
        ({"name": "refund", "confidence": 0.4}, "I am not sure what you mean. Is it about refund"),
        ({"name": "refund", "confidence": 0.1}, "Nothing here fits that"),
    ],
)
def test_given_a_model_that_is_not_sure_when_it_says_so_then_it_asks_back_or_says_what_there_is(
    model: Choosing, answer: dict[str, Any], text: str
) -> None:
    model.answers = [json.dumps(answer)]
    assert say(world(), "hm").message.content.startswith(text)


def test_given_a_sentence_without_end_when_it_is_routed_then_its_beginning_and_its_end_are_looked_at(
    model: Choosing,
) -> None:
    model.answers = [json.dumps({"name": "refund", "confidence": 0.9})]
    known = world()
    assert say(known, "I want my money back " + "x" * 200_000 + " at once").message.name == "refund"
    looked_at = model.asked[0].messages[-1].content
    assert len(looked_at) < 10_000
    assert looked_at.startswith("I want my money back")
    assert looked_at.endswith("at once")

"""How to test agents: in a World, with the built-in model, or with one that says what the test wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from actors.approvals import KINDS as APPROVALS
from actors.memory import Found, memory
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.model import Target
from actors.models.wire import Completion, Delta, Message, ModelRequest
from actors.sessions.session import session
from actors.sessions.transcript import Line
from examples import support_desk
from examples.invoices import Invoice, extractor, file_invoice, ledger
from examples.research import library, researcher
from runtime import Rejected
from runtime.testing import World
from schemas.approvals import KIND, Description


def desk() -> World:
    return World(
        session, support_desk.desk, support_desk.billing, support_desk.shipping, support_desk.orders, *APPROVALS,
        always_replay=True,
    )  # fmt: skip


def say(world: World, text: str) -> None:
    world.ask(session, "ann", "say", {"text": text, "agent": "desk"})


def last(world: World) -> tuple[str, str]:
    """Who said what last."""
    line = world.query(session, "ann", "history", {}, type=list[Line])[-1]
    return line.message.name, line.message.content


def test_given_a_small_refund_when_it_is_asked_for_then_billing_pays_it_at_once() -> None:
    world = desk()
    say(world, "Please refund 12.5 euros for order A7")
    assert last(world) == ("billing", "[offline model] refunded 12.5 euros for order A7")


def test_given_a_sentence_for_nobody_in_particular_when_the_desk_can_answer_it_then_the_router_asks_the_desk() -> None:
    world = desk()
    world.ask(session, "ann", "say", {"text": "Please refund 12.5 euros for order A7"})
    assert last(world) == ("billing", "[offline model] refunded 12.5 euros for order A7")


def test_given_a_large_refund_when_it_is_asked_for_then_a_person_is_asked_and_nothing_is_paid_before() -> None:
    world = desk()
    world.tell(session, "ann", "say", {"text": "Please refund 80 euros for order A7", "agent": "desk"})
    (asked,) = {event.key for event in world.log if event.kind == KIND}
    described = world.query(KIND, asked, "describe", type=Description)
    assert described.spec.payload["arguments"] == {"order": "A7", "amount": 80.0}
    assert not [event for event in world.log if b"refunded" in bytes(event.payload)]


def test_given_a_question_for_a_colleague_when_it_is_asked_then_that_one_answers() -> None:
    world = desk()
    say(world, "Where is the parcel with key A7?")
    assert last(world) == ("shipping", "[offline model] order A7 is on its way")


TEXT = "Invoice number R17. Vendor: Lamps. Total: 119.5 EUR"


def test_given_an_invoice_when_it_is_filed_twice_then_it_is_booked_once() -> None:
    world = World(file_invoice, extractor, ledger, always_replay=True)
    for _ in range(2):
        found = world.ask(file_invoice, "mail-17", "run", {"text": TEXT}, type=Invoice)
        assert found == Invoice("R17", "Lamps", 119.5, "EUR")
    assert world.query(ledger, "Lamps", "owed") == {"EUR": 119.5}


class Careless:
    """A model whose first answers are none."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        yield Completion(Message("assistant", self.answers.pop(0)), target.model)


def test_given_a_model_that_mends_its_answer_when_it_is_told_then_the_invoice_is_booked() -> None:
    world = World(file_invoice, extractor, ledger)
    right = '{"number": "R17", "vendor": "Lamps", "total": 119.5, "currency": "EUR"}'
    model = Careless("It is R17.", right.replace("119.5", "-1"), right)
    with using(Caller(Fleet(), lambda _: model)):
        world.ask(file_invoice, "mail-17", "run", {"text": TEXT})
    assert world.query(ledger, "Lamps", "owed") == {"EUR": 119.5}


def test_given_a_text_that_is_no_invoice_when_it_is_filed_then_nothing_is_booked() -> None:
    world = World(file_invoice, extractor, ledger)
    with pytest.raises(Rejected, match="does not fit what it is to answer with, after 2 repairs"):
        world.ask(file_invoice, "mail-18", "run", {"text": "Hello!"})
    assert not [event for event in world.log if event.kind == "ledger"]


def research() -> World:
    world = World(researcher, library, always_replay=True)
    world.ask(library, "tides", "note", {"text": "They turn every six hours", "source": "Admiralty"})
    return world


def ask(world: World, conversation: str, text: str) -> str:
    """What the researcher answers."""
    world.ask(session, conversation, "say", {"text": text, "agent": "researcher"})
    lines: list[Line] = world.query(session, conversation, "history", {}, type=list[Line])
    return lines[-1].message.content


def test_given_a_note_when_its_topic_is_looked_up_then_it_is_told_with_its_source() -> None:
    assert "They turn every six hours (Admiralty)" in ask(research(), "c1", "Look up the topic with key tides")


def test_given_a_topic_that_the_library_has_not_when_it_is_looked_up_then_the_answer_says_so() -> None:
    assert "the library has nothing on 'moons'" in ask(research(), "c1", "Look up the topic with key moons")


def test_given_something_to_remember_when_another_conversation_asks_then_it_is_recalled() -> None:
    world = research()
    ask(world, "c1", "Remember that the harbour floods at springtide")
    assert "the harbour floods at springtide" in ask(world, "c2", "What do you recall of the harbour?")
    found = world.query(memory, "app/researcher", "search", {"text": "harbour"}, type=Found)
    assert {item.meta["kind"] for item in found.items} == {"semantic"}

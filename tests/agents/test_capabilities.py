"""Capabilities in a World: their workers, with a model and by rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors.agents import tool
from actors.capabilities import Capability, Workers, capability
from actors.capabilities.offline import missing, summary
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet, SlotSettings
from actors.models.offline import MARK, OfflineModel
from actors.models.wire import Message, ToolCall
from actors.sessions.session import Heard, Task, session
from actors.sessions.transcript import Line
from runtime import BadDefinition
from runtime.errors import CallFailed
from runtime.testing import World
from tests.agents.scripted import Scripted


class Invoice(msgspec.Struct):
    """What is read of an invoice."""

    number: str
    total: float


@capability(
    workers=["extract", "verify", "summarize"],
    persona="You are an accountant.",
    domain_context="Invoices of shops.",
    constraints=["Never guess.", "Be short."],
    examples=["what does this invoice say", "read the invoice"],
)
async def invoices(work: Workers, task: Task) -> str:
    """Reads invoices and checks them."""
    invoice = await work.extract(task.text, Invoice)
    verdict = await work.verify(invoice, task.text)
    short = await work.summarize(task.text, words=5)
    return f"{invoice.number} {invoice.total:g} {verdict.holds} {'; '.join(verdict.problems)} {short}"


@tool
def stock(item: str) -> int:
    """How many there are."""
    return len(item)


@pytest.fixture
def model() -> Iterator[Scripted]:
    scripted = Scripted()
    with using(Caller(Fleet({"generate": SlotSettings(model="openai/m")}), lambda _: scripted)):
        yield scripted


@pytest.fixture(autouse=True)
def offline() -> Iterator[None]:
    with using(Caller(Fleet(), lambda _: OfflineModel())):
        yield


def said(kind: Capability, text: str) -> Line:
    world = World(kind, always_replay=True)
    world.ask(session, "s1", "say", {"text": text, "agent": kind.name}, type=Heard)
    found: list[Line] = world.query(session, "s1", "history", {}, type=list[Line])
    last = found[-1]
    if last.message.role == "user":
        raise AssertionError(world.events(session, "s1")[-1])
    return last


def test_given_a_capability_when_it_is_served_then_sessions_and_the_router_are_and_it_has_a_skill() -> None:
    assert [one.name for one in invoices.companions] == ["session", "router"]
    assert invoices.skill is not None
    assert invoices.skill.description == "Reads invoices and checks them."
    assert invoices.instructions == (
        "You are an accountant.\n\nInvoices of shops.\n\nKeep to this:\n- Never guess.\n- Be short."
    )


def test_given_workers_when_a_model_serves_them_then_each_is_asked_once_with_what_the_capability_says(
    model: Scripted,
) -> None:
    model.says('{"number": "A7", "total": 9.5}', '{"holds": false, "problems": ["no total"]}', "An invoice.")
    answer = said(invoices, "Invoice number A7 of 9.50")
    assert answer.message.content == "A7 9.5 False no total An invoice."
    assert len(model.asked) == 3
    first = model.asked[0]
    assert first.messages[0].content.startswith("You are an accountant.\n\nInvoices of shops.")
    assert first.json_schema is not None
    assert model.asked[1].messages[1].content.startswith('Claim: {"number":"A7","total":9.5}')


def test_given_an_answer_that_does_not_fit_when_a_worker_gets_it_then_the_model_may_mend_it(model: Scripted) -> None:
    model.says("no json", '{"number": "A7"}', '{"number": "A7", "total": 1}', '{"holds": true}', "Short.")
    assert said(invoices, "Invoice A7").message.content.startswith("A7 1 True")
    assert "does not fit the schema" in model.asked[1].messages[-1].content
    assert "total" in model.asked[2].messages[-1].content


def test_given_answers_that_never_fit_when_a_worker_gets_them_then_the_run_says_so(model: Scripted) -> None:
    model.says("no", "no", "no")
    with pytest.raises(AssertionError, match="gave no answer that fits in 3 tries"):
        said(invoices, "Invoice A7")


def test_given_no_model_when_workers_are_called_then_rules_do_it_and_say_that_they_are_offline() -> None:
    text = said(invoices, "Invoice number A7 has a total of 9.5. It is paid.").message.content
    assert text == f"A7 9.5 True  {MARK} Invoice number A7 has a"


def test_given_a_claim_that_the_text_does_not_hold_when_it_is_verified_by_rules_then_it_says_what_is_missing() -> None:
    @capability(workers=["verify", "classify"], description="Checks.")
    async def checking(work: Workers, task: Task) -> str:
        verdict = await work.verify("A7 costs 12", task.text)
        label = await work.classify(task.text, {"bill": "invoices to pay", "mail": "letters to read"})
        return f"{verdict.holds} {verdict.problems} {label.name}"

    answer = said(checking, "the invoices to pay: A7 is 9")
    assert answer.message.content == "False ('12 is not in the text',) bill"


def test_given_no_code_when_a_capability_runs_then_its_workers_go_on_with_what_the_one_before_gave(
    model: Scripted,
) -> None:
    model.says('{"who": "Ann"}', '{"holds": false, "problems": ["who is Ann?"]}', "Ann is somebody.")
    kind = Capability("people", description="Tells of people.", workers=["extract", "verify", "generate"])
    assert said(kind, "Tell me").message.content == "Ann is somebody."
    assert model.asked[2].messages[-1].content == '{"who":"Ann"}\nNot confirmed: who is Ann?'


def test_given_tools_when_a_capability_has_them_called_then_the_conversation_holds_what_they_gave(
    model: Scripted,
) -> None:
    model.answers.append(Message("assistant", tool_calls=(ToolCall("1", "stock", json.dumps({"item": "lamp"})),)))
    model.says("Four.")
    kind = Capability("shop", description="Tells of the stock.", workers=["tool_call"], tools=[stock])
    world = World(kind, always_replay=True)
    world.ask(session, "s1", "say", {"text": "How many lamps?", "agent": "shop"})
    found: list[Line] = world.query(session, "s1", "history", {}, type=list[Line])
    assert [(one.message.role, one.message.content) for one in found] == [
        ("user", "How many lamps?"), ("assistant", ""), ("tool", "4"), ("assistant", "Four."),
    ]  # fmt: skip


def test_given_a_worker_that_is_not_declared_when_it_is_called_then_the_error_says_so() -> None:
    @capability(description="Writes.", workers=["generate"])
    async def writing(work: Workers, task: Task) -> str:
        return await work.summarize(task.text)

    world = World(writing)
    with pytest.raises(CallFailed, match="capability 'writing' has no worker 'summarize'"):
        world.ask(writing, "w1", "run", Task("", 0, "hello"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": ["dance"]}, "its workers are some of classify"),
        ({"workers": []}, "its workers are some of classify"),
        ({"workers": ["classify"]}, "is for code"),
        ({"workers": ["generate"], "tools": [stock]}, "add tool_call"),
    ],
)
def test_given_a_definition_that_cannot_work_when_it_is_made_then_it_says_why(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(BadDefinition, match=text):
        Capability("wrong", description="Wrong.", **options)


@pytest.mark.parametrize(
    ("claim", "missed"),
    [
        ("A7 costs 9.50", ()),
        ('A8 costs 10 by "Ann"', ("A8", "10", "Ann")),
        ({"number": "A7", "total": 9.5, "paid": True, "note": "", "lines": [{"item": "Lamp"}]}, ()),
        ({"number": "A8", "total": 9.6}, ("A8", "9.6")),
    ],
)
def test_given_a_claim_when_rules_verify_it_then_each_of_its_values_is_looked_for(
    claim: Any, missed: tuple[str, ...]
) -> None:
    assert missing(claim, "Invoice A7: a lamp for 9.50 EUR") == missed


def test_given_a_text_when_rules_summarise_it_then_whole_sentences_are_kept_while_there_is_room() -> None:
    assert summary("One two. Three four. Five six seven.", 5) == f"{MARK} One two. Three four."
    assert summary("One two three four.", 2) == f"{MARK} One two"

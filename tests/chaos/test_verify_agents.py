"""The verdict on conversations: one that is right, and the same with one thing wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from actors.models.wire import Message
from actors.sessions.session import Answer, Began, Event, Over, Queued, Waiting, Withdrawn, Work
from schemas.wire import Failure
from tests.chaos import check_shown
from tests.chaos.allowances import Allowances
from tests.chaos.check_agents import run_of
from tests.chaos.check_shown import ATTEMPTS
from tests.chaos.evidence import Evidence, Mark, Verdict
from tests.chaos.log import Event as Logged
from tests.chaos.log import Log
from tests.chaos.record import Entry, Look, Reading, Record, Seen, Shown
from tests.chaos.rote import ADD, HAND_OFF, MARK, Call, Plan, answer, pieces_of
from tests.chaos.test_verify import entry, event, found, words
from tests.chaos.verify import verify

S, B = "acme/session/a-1", "acme/counter/b"
PLANS = {
    "a-1-1": Plan("acme/a-1-1", ((Call(MARK), Call(ADD, "b", 5)), (Call(HAND_OFF),))),
    "a-1-2": Plan("acme/a-1-2"),
    "a-1-3": Plan("acme/a-1-3"),
    "a-1-4": Plan("acme/a-1-4", ((Call(MARK),),)),
}
TEXTS = {id: msgspec.json.encode(plan).decode() for id, plan in PLANS.items()}
RESULTS = {MARK: "marked mark-1.1", ADD: "5", HAND_OFF: "keeper goes on with the conversation"}


def said(before: Sequence[Message], id: str) -> tuple[Message, ...]:
    """What an answer to a message is, whatever was said before."""
    messages, agent = [*before, Message("user", TEXTS[id])], "porter"
    begun = len(messages)
    while messages[-1].role != "assistant" or messages[-1].tool_calls:
        thought = msgspec.structs.replace(answer(messages), name=agent)
        messages.append(thought)
        for call in thought.tool_calls:
            messages.append(Message("tool", RESULTS[call.name], tool_call_id=call.id, name=call.name))
            agent = "keeper" if call.name == HAND_OFF else agent
    return tuple(messages[begun:])


FIRST = said([], "a-1-1")
SECOND = said([Message("user", TEXTS["a-1-1"]), *FIRST], "a-1-2")
CANCELLED = Failure("cancelled", "the session's user cancelled it")

TOLD: list[tuple[str, Event]] = [
    ("a-1-1", Began(Work("a-1-1", "porter", 1), TEXTS["a-1-1"], 0.0)),
    ("a-1-2", Queued(Waiting("a-1-2", "porter", TEXTS["a-1-2"]))),
    ("a-1-3", Queued(Waiting("a-1-3", "porter", TEXTS["a-1-3"]))),
    ("a-1-33", Withdrawn("a-1-3")),
    ("over-1", Over("a-1-1", 0.0, FIRST)),
    ("over-1", Began(Work("a-1-2", "porter", 8), TEXTS["a-1-2"], 0.0)),
    ("over-2", Over("a-1-2", 0.0, SECOND)),
    ("a-1-4", Began(Work("a-1-4", "porter", 10), TEXTS["a-1-4"], 0.0)),
    ("over-4", Over("a-1-4", 0.0, (), CANCELLED)),
]
"""(the command, its event) of the conversation."""

RUNS = {
    "a-1-1": ["model", "tool mark", "$ask counter.add", "troupe.answer", "model", "model"], "a-1-2": ["model"],
    "a-1-4": ["troupe.cancel", "$cancelled"],
}  # fmt: skip
"""message → what its run has between its beginning and its end."""

OUTSIDE = {"a-1-1": ["model-1", "mark-1.1", "model-2", "model-3"], "a-1-2": ["model-1"], "a-1-4": ["model-1"]}


def right(told: Sequence[tuple[str, Event]] = TOLD) -> Evidence:
    """A conversation of four messages: the third is withdrawn, the run of the fourth is called off."""
    events: dict[str, list[Logged]] = defaultdict(list)
    payloads: dict[tuple[str, int], str] = {}
    position = 0

    def add(actor: str, type: str, command: str, amount: int = 0, **more: Any) -> None:
        nonlocal position
        position += 1
        events[actor].append(event(actor, len(events[actor]) + 1, position, type, command, amount, **more))

    for command, one in told:
        cause = {"over-1": "a-1-1", "over-2": "a-1-2", "over-4": "a-1-4"}.get(command)
        add(S, type(one).__name__, command, causation_id=cause)
        payloads[S, len(events[S])] = msgspec.json.encode(one).decode()
    for id, steps in RUNS.items():
        run, cause = run_of(S, id), "over-1" if id == "a-1-2" else id
        add(run, "troupe.started", id, causation_id=cause)
        for number, step in enumerate(steps, 1):
            if step.startswith("troupe."):
                add(run, step, id, causation_id="said")
            else:
                numbered = 0 if step == "$cancelled" else number
                add(run, "troupe.step", id, causation_id=cause, step=step, number=numbered)
        add(run, "troupe.ended", id, causation_id=cause)
    add(B, "Added", "asked", 5, causation_id="a-1-1")
    entries = [
        _entry("a-1-1", "say", 5, value=1), _entry("a-1-2", "say", value=0), _entry("a-1-3", "say", value=0),
        _entry("a-1-33", "cancel", value=1), _entry("a-1-4", "interrupt", value=10),
        _entry("a-1-34", "cancel", value=1), _entry("a-1-5", "reject", outcome="rejected", value=None),
    ]  # fmt: skip
    inbox = {(S, one.id): (one.seq, one.outcome != "done", _result(one)) for one in entries}
    for id, messages in (("a-1-1", FIRST), ("a-1-2", SECOND)):
        inbox[run_of(S, id), id] = (1, False, msgspec.json.encode(Answer("", messages)).decode())
    inbox[run_of(S, "a-1-4"), "a-1-4"] = (1, True, msgspec.json.encode(CANCELLED).decode())
    outside = [
        Mark(what, f"acme/{id}", step, 1)
        for id, steps in OUTSIDE.items()
        for step in steps
        for what in ("ran", "had")
    ]  # fmt: skip
    log = Log(events, inbox, [], {}, payloads)
    return Evidence(log, Record(entries, []), {}, {B: Look(B, "end", 0, 1, 5, 10)}, {}, outside)


def _entry(id: str, method: str, amount: int = 0, **more: Any) -> Entry:
    return entry(S, id, method, amount, **({"target": B, "seq": 1} | more))


def _result(one: Entry) -> str:
    if one.method == "cancel":
        return "true"
    return msgspec.json.encode({"number": one.value, "run": one.id, "agent": "porter", "status": "running"}).decode()


def changed(at: int, command: str, one: Event) -> Evidence:
    """The conversation with another event at a place, from 1."""
    return right([*TOLD[: at - 1], (command, one), *TOLD[at:]])


def without(at: int) -> Evidence:
    """The conversation without the event at a place, from 1."""
    return right([*TOLD[: at - 1], *TOLD[at:]])


def with_more(at: int, command: str, one: Event) -> Evidence:
    """The conversation with an event more, before the one at a place."""
    return right([*TOLD[: at - 1], (command, one), *TOLD[at - 1 :]])


def test_given_a_conversation_that_is_right_when_verified_then_nothing_is_found() -> None:
    verdict = verify(right())
    assert verdict.good, verdict.findings
    assert verdict.acknowledged == 7


OVER_1, BEGAN_2 = TOLD[4][1], TOLD[5][1]
SHORT = Over("a-1-1", 0.0, FIRST[:-1])
SWAPPED = Over("a-1-1", 0.0, (FIRST[0], FIRST[2], FIRST[1], *FIRST[3:]))
OF_ANOTHER = Over("a-1-1", 0.0, SECOND)
TWICE = Over("a-1-1", 0.0, (*FIRST, FIRST[-1]))
BY_ANOTHER = Over("a-1-1", 0.0, (*FIRST[:-1], msgspec.structs.replace(FIRST[-1], name="porter")))
FAILED = Over("a-1-1", 0.0, (), Failure("parked", "it fell over"))
CALLED_OFF = Over("a-1-1", 0.0, (), CANCELLED)


@pytest.mark.parametrize(
    ("evidence", "word", "says"),
    [
        (lambda: changed(5, "over-1", SHORT), "lost", "the answer to a-1-1 has 2 messages of the model"),
        (lambda: changed(5, "over-1", SWAPPED), "lost", "message 3, of the answer to a-1-1, is"),
        (lambda: changed(5, "over-1", OF_ANOTHER), "lost", "message 2, of the answer to a-1-1, is"),
        (lambda: changed(5, "over-1", TWICE), "lost", "the answer to a-1-1 has 4 messages of the model"),
        (lambda: changed(5, "over-1", BY_ANOTHER), "lost", "message 7, of the answer to a-1-1, is"),
        (lambda: changed(5, "over-1", FAILED), "stuck", "message a-1-1 is not answered: parked"),
        (lambda: changed(5, "over-1", CALLED_OFF), "stuck", "message a-1-1 is not answered: cancelled"),
        (lambda: changed(5, "over-1", FAILED), "lost", "run a-1-1 ended with"),
        (lambda: changed(6, "over-1", Began(Work("a-1-2", "porter", 7), TEXTS["a-1-2"], 0.0)), "lost", "8 is right"),
        (lambda: changed(6, "over-1", Began(Work("a-1-2", "porter", 8), TEXTS["a-1-3"], 0.0)), "lost", "another one"),
        (lambda: without(4), "stuck", "message a-1-3 waits for ever"),
        (lambda: without(9), "stuck", "at work on a-1-4 for ever"),
        (lambda: without(8), "duplicated", "run a-1-4 was over while nobody was at work"),
        (lambda: without(8), "duplicated", "is the run of a message that no session has begun"),
        (lambda: without(8), "lost", "message a-1-4 was acknowledged, and the session does not have it"),
        (lambda: with_more(5, "over-1", BEGAN_2), "duplicated", "message a-1-2 began while a-1-1 was at work"),
        (lambda: with_more(8, "over-2", BEGAN_2), "duplicated", "message a-1-2 began twice"),
        (lambda: with_more(7, "over-1", OVER_1), "duplicated", "run a-1-1 was over while a-1-2 was at work"),
        (lambda: with_more(3, "a-1-2", TOLD[1][1]), "duplicated", "message a-1-2 was taken 2 times"),
        (lambda: with_more(3, "a-1-5", Queued(Waiting("a-1-5", "", TEXTS["a-1-2"]))), "duplicated", "was rejected"),
        (lambda: with_more(4, "over-1", Withdrawn("a-1-2")), "lost", "message a-1-2 was withdrawn by over-1"),
        (lambda: with_more(8, "a-1-33", Withdrawn("a-1-2")), "duplicated", "was withdrawn, and did not wait"),
        (lambda: right([*TOLD[:1], TOLD[2], TOLD[1], *TOLD[4:], TOLD[3]]), "reordered", "which waited for longer"),
    ],
)  # fmt: skip
def test_given_a_conversation_with_one_thing_wrong_when_verified_then_it_is_found(
    evidence: Callable[[], Evidence], word: str, says: str
) -> None:
    made = evidence()
    assert says in found(made)
    assert word in words(verify(made))


@pytest.mark.parametrize(
    ("id", "at", "says"),
    [("a-1-1", 2, "took the steps"), ("a-1-1", 8, "0 events troupe.ended"), ("a-1-4", 2, "is not answered: cancelled")],
)
def test_given_an_event_of_a_run_that_is_missing_when_verified_then_that_is_found(id: str, at: int, says: str) -> None:
    evidence = right()
    del evidence.log.events[run_of(S, id)][at - 1]
    assert says in found(evidence)


def test_given_a_model_step_too_many_when_verified_then_it_was_paid_twice() -> None:
    evidence = right()
    events = evidence.log.events[run_of(S, "a-1-2")]
    events.insert(2, events[1]._replace(number=9))
    assert "took the steps" in found(evidence)
    assert "duplicated" in words(verify(evidence))


@pytest.mark.parametrize("step", ["model-2", "mark-1.1"])
def test_given_a_step_of_an_agent_when_it_ran_again_or_never_then_that_is_found(step: str) -> None:
    evidence = right()
    evidence.outside = [*evidence.outside, Mark("ran", "acme/a-1-1", step, 2)]
    assert f"step {step} ran again in process 2" in found(evidence)
    evidence = right()
    evidence.outside = [mark for mark in evidence.outside if (mark.command, mark.step) != ("acme/a-1-1", step)]
    assert f"its step {step} never ran" in found(evidence)


@pytest.mark.parametrize(("amount", "word"), [(4, "duplicated"), (0, "lost")])
def test_given_a_counter_that_counts_otherwise_when_verified_then_that_is_found(amount: int, word: str) -> None:
    evidence = right()
    events = evidence.log.events[B]
    if amount:
        events.append(event(B, 2, 100, "Added", "again", amount, causation_id="a-1-1"))
    else:
        events.clear()
    assert "had a counter add {5: 1}, and it counted" in found(evidence)
    assert word in words(verify(evidence))


EPOCHS = {"a-1-1": 2, "a-1-2": 1}


def shown() -> Evidence:
    """What the runs of the first two messages showed; the first one's second call by two attempts."""
    evidence = right()
    facts: list[Seen] = []
    for id, answered in (("a-1-1", FIRST), ("a-1-2", SECOND)):
        run, occurrence = run_of(S, id), 0
        events = evidence.log.events[run]
        for at, one in enumerate(events):
            if one.step != "model":
                continue
            said = [message for message in answered if message.role == "assistant"][occurrence]
            step = {"occurrence": occurrence, "result": {"message": said}}
            events[at] = one._replace(session="a", epoch=EPOCHS[id])
            evidence.log.payloads[run, one.seq] = msgspec.json.encode(step).decode()
            whole = [(EPOCHS[id], pieces_of(said.content))]
            before = [(1, pieces_of(said.content)[:2])] if (id, occurrence) == ("a-1-1", 1) else []
            for epoch, pieces in (*before, *whole):
                for first, piece in enumerate(pieces):
                    progress = Shown("model", occurrence, epoch * ATTEMPTS + 3, first, (f'{{"text":"{piece}"}}',))
                    name = run.partition("/")[2]
                    facts.append(Seen(len(facts) + 1, "progress", id, None, 0.0, name, progress))
            occurrence += 1
    evidence.facts = {READ: facts}
    evidence.record.readings.append(Reading(READ, "nats", list(facts), 1, True))
    return evidence


READ = "acme/a"


def of_session(evidence: Evidence) -> str:
    """What is found of the session that was read, as one text."""
    verdict = Verdict()
    check_shown.check(evidence, verdict)
    assert all(name == READ for findings in verdict.findings.values() for name, _ in findings)
    return "\n".join(text for findings in verdict.findings.values() for _, text in findings)


def replaced(evidence: Evidence, at: int, **more: Any) -> Evidence:
    """Another progress in place of one, from 0."""
    facts = list(evidence.facts[READ])
    one = facts[at].shown
    assert one is not None
    facts[at] = facts[at]._replace(shown=one._replace(**more))
    evidence.facts = {READ: facts}
    return evidence


def test_given_values_that_were_shown_as_they_should_be_when_verified_then_nothing_is_found() -> None:
    assert of_session(shown()) == ""


def test_given_a_value_that_was_lost_when_verified_then_it_is_found_unless_a_fault_may_take_it() -> None:
    evidence = shown()
    evidence.facts = {READ: [*evidence.facts[READ][:-1]]}
    assert "call 1 of run a-1-2 shows" in of_session(evidence)
    evidence.allowed = Allowances(shown_may_be_missing=True)
    assert of_session(evidence) == ""


def test_given_an_attempt_that_nothing_tells_from_the_one_before_when_verified_then_it_is_found() -> None:
    evidence = shown()
    again = next(at for at, one in enumerate(evidence.facts[READ]) if one.shown and one.shown.occurrence == 1) + 2
    found = of_session(replaced(evidence, again, attempt=1 * ATTEMPTS + 3))
    assert f"shows value 0 of attempt {ATTEMPTS + 3} behind 1" in found


def test_given_an_attempt_behind_the_one_that_was_recorded_when_verified_then_it_was_said_twice() -> None:
    evidence = replaced(shown(), -1, attempt=7 * ATTEMPTS)
    assert "shows an attempt of epoch 7, and 1 recorded it" in of_session(evidence)


@pytest.mark.parametrize(("second", "says"), [("one", ""), ("two", "shows 2 as its value 0, which was 1")])
def test_given_a_note_that_comes_again_when_it_is_another_one_then_that_is_found(second: str, says: str) -> None:
    evidence = shown()
    values = {"one": "1", "two": "2"}
    for value in ("1", values[second]):
        note = Seen(90, "progress", "a-1-1", None, 0.0, "porter/x", Shown("", 0, 0, 0, (value,)))
        evidence.facts = {READ: [*evidence.facts[READ], note]}
    found = of_session(evidence)
    assert (says in found) if says else not found


def test_given_a_value_that_the_model_never_said_when_verified_then_it_is_found() -> None:
    assert "shows ['what'] from 0 on" in of_session(replaced(shown(), 0, values=('{"text":"what"}',)))

"""Conversations with agents by the log: each message is answered once, in its order, with what its model says to it.

The model is rote (rote.py), so that every message of every answer is known. What its calls and tools left outside must
not be there again once it was recorded; that is compared in check_steps.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from actors.models.wire import Message
from actors.sessions.session import Answer, Began, Over, Queued, Withdrawn
from actors.sessions.session import Event as Said
from schemas.conversation import run_key
from tests.chaos import check_flows
from tests.chaos.check_flows import Own, check_journal
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.log import Event
from tests.chaos.record import CALL_OFF, SAID, Entry
from tests.chaos.rewritten import caused_by
from tests.chaos.rote import ADD, HAND_OFF, MARK, Plan, answer, mark_step, model_step, plan_of

CANCEL = "troupe.cancel"
CANCELLED = "cancelled"
AGENT, OTHER = "porter", "keeper"
_TYPES: Mapping[str, type[Said]] = {one.__name__: one for one in (Began, Queued, Over, Withdrawn)}


def is_talk(entry: Entry) -> bool:
    """Whether it is about a conversation."""
    return entry.actor.split("/")[1] == "session"


def run_of(actor: str, id: str) -> str:
    """The actor of the run that answers a message of a session."""
    tenant, _, key = actor.split("/")
    return f"{tenant}/{AGENT}/{run_key(key, id)}"


def family(entry: Entry, caused: Iterable[Event], own: Own) -> list[Event]:
    """What a message has caused: its run, what that had others do, and what its session did when it was over.

    The run of one that waited was begun by the end of the run before it. That a run is called off is its own event.
    """
    begun = own.get((run_of(entry.actor, entry.id), entry.id), ())
    return check_flows.family([*begun, *(event for event in caused if event.type != CANCEL)], own)


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Folds every conversation anew, and compares it with its runs, with what was said, and with what is outside."""
    said: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in evidence.record.entries:
        if is_talk(entry):
            said[entry.actor][entry.id] = entry
    runs: set[str] = set()
    marks = Counter((mark.command, mark.step) for mark in evidence.outside if mark.what == "ran")
    caused = caused_by(evidence)
    for actor in evidence.log.events.keys() | said.keys():
        if actor.split("/")[1] != "session":
            continue
        talk = _Talk(actor, said[actor], verdict)
        for event in evidence.log.events.get(actor, ()):
            talk.hear(event, evidence.log.payloads[actor, event.seq])
        talk.check_end()
        for work in talk.answered.values():
            run = run_of(actor, work.id)
            runs.add(run)
            _check_run(evidence, talk, work, run, caused.get((talk.tenant, work.id), ()), marks, verdict)
    for actor in evidence.log.events:
        if actor.split("/")[1] == AGENT and actor not in runs:
            verdict.duplicated.append((actor, "it is the run of a message that no session has begun to answer"))


@dataclasses.dataclass(slots=True)
class _Work:
    """A message whose run has begun, and what became of it."""

    id: str
    plan: Plan
    over: Over | None = None


class _Talk:
    """One conversation, folded event by event."""

    def __init__(self, actor: str, entries: Mapping[str, Entry], verdict: Verdict) -> None:
        self.actor = actor
        self.tenant = actor.split("/", maxsplit=1)[0]
        self.answered: dict[str, _Work] = {}
        self._entries = entries
        self._verdict = verdict
        self._transcript: list[Message] = []
        self._accepted: Counter[str] = Counter()
        self._waiting: list[str] = []
        self._running: _Work | None = None

    def hear(self, event: Event, payload: str) -> None:
        """The next event."""
        if event.type not in _TYPES:
            found = f"event {event.seq} is a {event.type}, which nobody asked for"
            self._verdict.duplicated.append((self.actor, found))
            return
        match msgspec.json.decode(payload, type=_TYPES[event.type]):
            case Queued(waiting):
                self._accepted[waiting.id] += 1
                self._waiting.append(waiting.id)
            case Withdrawn(id):
                self._withdrawn(id, event)
            case Began() as began:
                self._began(began)
            case Over() as over:
                self._over(over)

    def check_end(self) -> None:
        """What must hold once nothing is left to do."""
        verdict, actor = self._verdict, self.actor
        if self._running is not None:
            verdict.stuck.append((actor, f"the session is at work on {self._running.id} for ever"))
        for id in self._waiting:
            verdict.stuck.append((actor, f"message {id} waits for ever"))
        for id, times in self._accepted.items():
            entry = self._entries.get(id)
            if times > 1 or entry is None or entry.outcome == "rejected":
                found = f"message {id} was taken {times} times, and was {entry.outcome if entry else 'never sent'}"
                verdict.duplicated.append((actor, found))
        for entry in self._entries.values():
            if entry.method in SAID and entry.outcome == "done" and not self._accepted[entry.id]:
                verdict.lost.append((actor, f"message {entry.id} was acknowledged, and the session does not have it"))
            if entry.outcome == "rejected" and entry.method != "reject":
                verdict.lost.append((actor, f"message {entry.id} ({entry.method}) was refused: {entry.error}"))

    def _withdrawn(self, id: str, event: Event) -> None:
        by = self._entries.get(event.command_id)
        if by is None or by.method not in (CALL_OFF, "interrupt"):
            self._verdict.lost.append((self.actor, f"message {id} was withdrawn by {event.command_id}"))
        if id in self._waiting:
            self._waiting.remove(id)
        else:
            self._verdict.duplicated.append((self.actor, f"message {id} was withdrawn, and did not wait"))

    def _began(self, began: Began) -> None:
        verdict, actor, id = self._verdict, self.actor, began.work.id
        if self._running is not None:
            verdict.duplicated.append((actor, f"message {id} began while {self._running.id} was at work"))
        if id in self.answered:
            verdict.duplicated.append((actor, f"message {id} began twice"))
        if id not in self._waiting:
            self._accepted[id] += 1
        if self._waiting[:1] not in ([], [id]):
            verdict.reordered.append((actor, f"message {id} began before {self._waiting[0]}, which waited for longer"))
        self._waiting = [one for one in self._waiting if one != id]
        plan, entry = plan_of(began.text), self._entries.get(id)
        asked = sum(call.amount for calls in plan.rounds for call in calls)
        number = len(self._transcript) + 1
        if entry is None or (plan.command, asked) != (f"{self.tenant}/{id}", entry.amount):
            verdict.lost.append((actor, f"message {id} is {began.text}, and was another one"))
        if began.work.number != number or (entry is not None and entry.value not in (0, None, number)):
            told = None if entry is None else entry.value
            found = f"message {id} has the number {began.work.number}, and {told} was told: {number} is right"
            verdict.lost.append((actor, found))
        self._transcript.append(Message("user", began.text))
        self._running = self.answered[id] = _Work(id, plan)

    def _over(self, over: Over) -> None:
        work = self._running
        if work is None or work.id != over.id:
            at_work = "nobody" if work is None else work.id
            self._verdict.duplicated.append((self.actor, f"run {over.id} was over while {at_work} was at work"))
            return
        self._running, work.over = None, over
        if over.error is not None:
            return
        plan, asked, place, agent = work.plan, 0, 0, AGENT
        for message in over.messages:
            if message.role == "assistant":
                asked, place = asked + 1, 0
                right = msgspec.structs.replace(answer(self._transcript), name=agent)
                held = message == right
            else:
                place += 1
                held = _is_result(message, plan, asked, place)
                agent = OTHER if message.name == HAND_OFF else agent
            if not held:
                number = len(self._transcript) + 1
                self._verdict.lost.append((self.actor, f"message {number}, of the answer to {over.id}, is {message}"))
                break
            self._transcript.append(message)
        else:
            if asked != len(plan.rounds) + 1 or place:
                found = f"the answer to {over.id} has {asked} messages of the model: {len(plan.rounds) + 1} is right"
                self._verdict.lost.append((self.actor, found))


def _is_result(message: Message, plan: Plan, asked: int, place: int) -> bool:
    """Whether it is what the tool call at that place of that round gives."""
    if not 0 < asked <= len(plan.rounds) or place > len(plan.rounds[asked - 1]):
        return False
    call, text = plan.rounds[asked - 1][place - 1], message.content
    given = {MARK: f"marked {mark_step(asked, place)}", HAND_OFF: f"{OTHER} goes on with the conversation"}
    right = text.isdecimal() if call.tool == ADD else text == given[call.tool]
    return right and (message.role, message.name, message.tool_call_id) == ("tool", call.tool, f"{asked}.{place}")


def _check_run(
    evidence: Evidence,
    talk: _Talk,
    work: _Work,
    run: str,
    caused: Sequence[Event],
    marks: Mapping[tuple[str, str], int],
    verdict: Verdict,
) -> None:
    """A run's journal and what it did elsewhere, against the answer that its session has."""
    if work.over is None:
        return  # it is stuck, and said so
    mine = [event for event in evidence.log.events.get(run, ()) if event.command_id == work.id]
    steps, _ = check_journal(run, work.id, mine, verdict)
    answered = work.over.error is None
    expected = Counter({"model": len(work.plan.rounds) + 1})
    expected.update("tool mark" for calls in work.plan.rounds for call in calls if call.tool == MARK)
    many = Counter(steps) - expected
    if many or (answered and Counter(steps) != expected):
        found = f"run {work.id} took the steps {steps}, and {dict(expected)} is right"
        (verdict.duplicated if many else verdict.lost).append((run, found))
    _check_end(evidence, talk, work, run, mine, verdict)
    asked = Counter(call.amount for calls in work.plan.rounds for call in calls if call.tool == ADD)
    counted = Counter(event.amount for event in caused if event.type == "Added")
    if counted - asked or (answered and counted != asked):
        found = f"run {work.id} had a counter add {dict(asked)}, and it counted {dict(counted)}"
        (verdict.duplicated if counted - asked else verdict.lost).append((run, found))
    for step in _outside(work.plan) if answered else ():
        if not marks[work.plan.command, step]:
            verdict.lost.append((run, f"run {work.id} is done, and its step {step} never ran"))


def _check_end(
    evidence: Evidence, talk: _Talk, work: _Work, run: str, mine: Sequence[Event], verdict: Verdict
) -> None:
    """What the session was told is how the run ended, and one that ended with an error was called off."""
    assert work.over is not None
    error = work.over.error
    kept = evidence.log.inbox.get((run, work.id))
    if kept is None:
        verdict.lost.append((run, f"run {work.id} is over, and has no inbox entry"))
    elif kept[1] != (error is not None):
        verdict.lost.append((run, f"run {work.id} ended with {kept[2]}, and its session was told {work.over}"))
    elif error is None and msgspec.json.decode(kept[2], type=Answer).messages != work.over.messages:
        verdict.lost.append((run, f"run {work.id} answered {kept[2]}, and its session was told {work.over}"))
    called_off = any(event.type == CANCEL for event in mine)
    if error is not None and (error.code != CANCELLED or not called_off):
        verdict.stuck.append((talk.actor, f"message {work.id} is not answered: {error.code}: {error.message}"))


def _outside(plan: Plan) -> list[str]:
    """The lines that a run which is done has left."""
    found = [model_step(number) for number in range(1, len(plan.rounds) + 2)]
    for number, calls in enumerate(plan.rounds, 1):
        found += [mark_step(number, place) for place, call in enumerate(calls, 1) if call.tool == MARK]
    return found

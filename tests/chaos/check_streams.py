"""Sessions: what readers saw is what the stream holds, and that is what the log holds, each fact once, in order.

A restored backup leaves the facts of the log that is gone in the stream, and what came after the backup is published
again. A power cut takes facts from the stream, and gives their sequences to others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.subjects import events as subject_of
from tests.chaos.allowances import Allowances
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.log import Event
from tests.chaos.record import Reading, Seen

RESET = -1
FROM_LOG = 0


class Session(NamedTuple):
    """What there is of one session: its name, position → event of the log, and what was answered.

    Of that, (`<kind>/<key>`, command).
    """

    name: str
    events: Mapping[str, Event]
    answered: set[tuple[str, str]]
    allowed: Allowances

    @property
    def may_lack(self) -> bool:
        """Whether a power cut took facts of it."""
        return subject_of(*self.name.split("/")) in self.allowed.facts_may_be_missing

    @property
    def most(self) -> int:
        """How often a fact may be in the stream: once by each log that there was."""
        return 1 + len(self.allowed.restored)


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Compares each session's stream with the log, and each reading with both."""
    events: dict[str, dict[str, Event]] = defaultdict(dict)
    for actor, found in evidence.log.events.items():
        tenant = actor.split("/")[0]
        for event in found:
            if event.session is not None:
                events[f"{tenant}/{event.session}"][f"{event.lane}:{event.position}"] = event
    answered: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for entry in evidence.record.entries:
        if entry.session and entry.outcome in ("done", "rejected"):
            answered[entry.session].add((entry.actor.partition("/")[2], entry.id))
    sessions = {name: Session(name, events[name], ids, evidence.allowed) for name, ids in answered.items()}
    for name, session in sessions.items():
        _check_facts(session, "the stream", evidence.facts.get(name, ()), verdict)
    for reading in evidence.record.readings:
        name = reading.session
        session = sessions.get(name) or Session(name, events[name], set(), evidence.allowed)
        _check_reading(session, reading, evidence.facts.get(name, ()), verdict)


def _check_facts(session: Session, where: str, facts: Sequence[Seen], verdict: Verdict) -> None:
    """Facts without a reset among them: the log's events in order and the results, each once."""
    name, events = session.name, session.events
    ours = [fact for fact in facts if _is_of(events, fact)]
    seen = Counter(fact.position for fact in ours)
    results = Counter((fact.actor, fact.command) for fact in facts if fact.type in ("result", "error"))
    if not session.may_lack:
        for position in events.keys() - seen.keys():
            verdict.lost.append((name, f"{where} has no fact of the event at {position}"))
        for actor, command in session.answered - results.keys():
            verdict.lost.append((name, f"{where} has no result of {command} of {actor}"))
    for fact in facts:
        if fact.position is not None and not _is_of(events, fact) and not session.allowed.answer_may_differ(fact.at):
            found = f"{where} has a fact of {fact.position} by {fact.command}, and the log has no such event there"
            verdict.lost.append((name, found))
    for what, count in (seen + results).items():
        if count > session.most:
            verdict.duplicated.append((name, f"{where} has {what} {count} times"))
    last: Counter[str] = Counter()
    newest = {fact.position: number for number, fact in enumerate(ours)}
    for number, fact in enumerate(ours):
        assert fact.position is not None
        if newest[fact.position] != number:
            continue  # it was published again
        actor, seq = events[fact.position].actor, events[fact.position].seq
        if seq < last[actor]:
            verdict.reordered.append((name, f"{where} has event {seq} behind {last[actor]} of {actor}"))
        last[actor] = max(last[actor], seq)


def _is_of(events: Mapping[str, Event], fact: Seen) -> bool:
    event = events.get(fact.position or "")
    return event is not None and event.command_id == fact.command


def _check_reading(session: Session, reading: Reading, facts: Sequence[Seen], verdict: Verdict) -> None:
    name, where = session.name, f"the reader by {reading.how}"
    last = 0
    for seen in reading.seen:
        if seen.sequence == RESET:
            last = 0
        elif seen.sequence != FROM_LOG:
            if seen.sequence <= last:
                verdict.duplicated.append((name, f"{where} got {seen.sequence} after {last}"))
            last = max(last, seen.sequence)
    if any(seen.sequence == RESET for seen in reading.seen):
        # What it had seen before the reset comes again from the log: only a gap can be told.
        have = {seen.position for seen in reading.seen}
        excused = _out_of_reach(session, reading.seen, facts)
        for position in session.events.keys() - have - excused:
            verdict.lost.append((name, f"{where} has no fact of the event at {position}"))
        return
    passed = any(session.allowed.may_be_passed(fact.sequence) for fact in facts)
    if not reading.ended and not session.may_lack and not passed:
        verdict.stuck.append((name, f"{where} had not seen everything when the time was over"))
    _check_against_stream(session, where, reading.seen, facts, verdict)


def _out_of_reach(session: Session, seen: Sequence[Seen], facts: Sequence[Seen]) -> set[str]:
    """Positions that a reader may lack: their facts were taken, or have sequences that it had passed."""
    again = {fact.position or "" for fact in facts if session.allowed.may_be_passed(fact.sequence)}
    if not session.may_lack:
        return again
    passed = max((one.sequence for one in _ghosts(seen, facts)), default=0)
    reached = {fact.position for fact in facts if fact.sequence > passed}
    return set(session.events) - reached | again


def _ghosts(seen: Sequence[Seen], facts: Sequence[Seen]) -> list[Seen]:
    """What a reader had from the stream that is not in its place there now."""
    held = {fact.sequence: fact for fact in facts}
    return [one for one in seen if one.sequence > FROM_LOG and not _same(one, held.get(one.sequence))]


def _same(one: Seen, other: Seen | None) -> bool:
    return other is not None and one._replace(at=0.0) == other._replace(at=0.0)


def _check_against_stream(
    session: Session, where: str, seen: Sequence[Seen], facts: Sequence[Seen], verdict: Verdict
) -> None:
    """A reader that was never reset has every fact that the stream holds, in its order, and no other.

    Unless a power cut took the last that it had seen: then those that have their sequences now do not reach it.
    """
    ghosts = _ghosts(seen, facts)
    passed = max((one.sequence for one in ghosts), default=0) if session.may_lack else 0
    for sequence in sorted({fact.sequence for fact in facts} - {one.sequence for one in seen}):
        if sequence > passed and not session.allowed.may_be_passed(sequence):
            verdict.lost.append((session.name, f"{where} was never given {sequence}, which the stream holds"))
    for one in ghosts:
        if not session.may_lack:
            found = f"{where} was given {one.sequence} ({one.type} of {one.command}), which the stream does not hold"
            verdict.lost.append((session.name, found))
        elif one.position is not None and not _is_of(session.events, one):
            found = f"{where} was given a fact of {one.position} by {one.command}, and the log has no such event there"
            verdict.lost.append((session.name, found))

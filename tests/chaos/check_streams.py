"""Sessions: what readers saw is what the stream holds, and that is what the log holds, each fact once, in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.log import Event
from tests.chaos.record import Reading, Seen

RESET = -1
FROM_LOG = 0


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Compares each session's stream with the log, and each reading with both.

    Not after a power cut, whose facts may be missing, nor after a restored backup, whose positions are others.
    """
    if evidence.allowed.went_back or evidence.allowed.restored:
        return
    events: dict[str, list[Event]] = defaultdict(list)
    for actor, found in evidence.log.events.items():
        tenant = actor.split("/")[0]
        for event in found:
            if event.session is not None:
                events[f"{tenant}/{event.session}"].append(event)
    results: dict[str, set[str]] = defaultdict(set)
    for entry in evidence.record.entries:
        if entry.session and entry.outcome in ("done", "rejected"):
            results[entry.session].add(entry.id)
    for session, answered in results.items():
        places = {f"{event.lane}:{event.position}": event.seq for event in events[session]}
        _check_facts(session, "the stream", evidence.facts.get(session, ()), places, answered, verdict)
    for reading in evidence.record.readings:
        places = {f"{event.lane}:{event.position}": event.seq for event in events[reading.session]}
        _check_reading(reading, evidence.facts.get(reading.session, ()), places, results[reading.session], verdict)


def _check_facts(
    session: str, where: str, facts: Sequence[Seen], places: dict[str, int], results: set[str], verdict: Verdict
) -> None:
    """Facts without a reset among them: the log's events in order and the results, each once."""
    seen = Counter(fact.position for fact in facts if fact.position is not None)
    answered = Counter(fact.command for fact in facts if fact.type in ("result", "error"))
    for position in places.keys() - seen.keys():
        verdict.lost.append((session, f"{where} has no fact of the event at {position}"))
    for position in seen.keys() - places.keys():
        verdict.lost.append((session, f"{where} has a fact of {position}, and the log has no event there"))
    for command in results - answered.keys():
        verdict.lost.append((session, f"{where} has no result of {command}"))
    for name, count in (seen + answered).items():
        if count > 1:
            verdict.duplicated.append((session, f"{where} has {name} {count} times"))
    last = 0
    for fact in facts:
        if fact.position is not None:
            seq = places.get(fact.position, last)
            if seq < last:
                verdict.reordered.append((session, f"{where} has event {seq} behind {last}"))
            last = max(last, seq)


def _check_reading(
    reading: Reading, facts: Sequence[Seen], places: dict[str, int], results: set[str], verdict: Verdict
) -> None:
    where = f"the reader by {reading.how}"
    last = 0
    for seen in reading.seen:
        if seen.sequence == RESET:
            last = 0
        elif seen.sequence != FROM_LOG:
            if seen.sequence <= last:
                verdict.duplicated.append((reading.session, f"{where} got {seen.sequence} after {last}"))
            last = max(last, seen.sequence)
    if any(seen.sequence == RESET for seen in reading.seen):
        # What it had seen before the reset comes again from the log: only a gap can be told.
        have = {seen.position for seen in reading.seen}
        for position in places.keys() - have:
            verdict.lost.append((reading.session, f"{where} has no fact of the event at {position}"))
        return
    if not reading.ended:
        verdict.stuck.append((reading.session, f"{where} had not seen everything when the time was over"))
    held = {fact.sequence for fact in facts}
    have_sequences = {seen.sequence for seen in reading.seen}
    for sequence in sorted(held - have_sequences):
        verdict.lost.append((reading.session, f"{where} was never given {sequence}, which the stream holds"))
    for sequence in sorted(have_sequences - held):
        verdict.lost.append((reading.session, f"{where} was given {sequence}, which the stream does not hold"))
    _check_facts(reading.session, where, reading.seen, places, results, verdict)

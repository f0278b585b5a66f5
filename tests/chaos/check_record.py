"""The log against the answers: each command that was acknowledged counts once, and nothing that nobody asked for."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.log import Event
from tests.chaos.record import Entry

STEP, ANSWER = "troupe.step", "troupe.answer"


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Looks at every entry of the record, and then at every event for its cause."""
    record, log = evidence.record, evidence.log
    verdict.reordered += record.misordered
    own: dict[tuple[str, str], list[Event]] = defaultdict(list)
    caused: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for actor, events in log.events.items():
        tenant = actor.split("/")[0]
        for event in events:
            own[actor, event.command_id].append(event)
            if event.causation_id is not None:
                caused[tenant, event.causation_id].append(event)
    explained: Counter[tuple[str, int]] = Counter()
    for entry in record.entries:
        mine = own.get((entry.actor, entry.id), [])
        followed = caused.get((entry.actor.split("/")[0], entry.id), [])
        explained.update((event.actor, event.seq) for event in (*mine, *followed))
        if entry.outcome in ("stuck", "failed"):
            verdict.stuck.append((entry.actor, f"command {entry.id} {entry.method}: {entry.outcome}: {entry.error}"))
        else:
            verdict.acknowledged += 1
            _check_answers(evidence, entry, verdict)
            _check_events(evidence, entry, mine, followed, verdict)
    for actor, events in log.events.items():
        for event in events:
            if explained[actor, event.seq] != 1:
                found = f"event {event.seq} of command {event.command_id} has {explained[actor, event.seq]} causes"
                verdict.duplicated.append((actor, found))


def _check_answers(evidence: Evidence, entry: Entry, verdict: Verdict) -> None:
    """The answer, what the inbox says, and the answers to the same id."""
    name = f"command {entry.id}"
    kept = evidence.log.inbox.get((entry.actor, entry.id))
    if kept is None:
        if entry.outcome != "stored":
            verdict.lost.append((entry.actor, f"{name} was answered and has no inbox entry"))
    elif _may_differ(evidence, entry):
        return
    elif entry.outcome == "done" and (kept[1] or msgspec.json.decode(kept[2]) != entry.value):
        verdict.lost.append((entry.actor, f"{name} was answered with {entry.value}, and the inbox says {kept[2]}"))
    if entry.again is not None and entry.outcome == "done" and entry.again != (entry.value, entry.seq):
        found = f"{name} was answered with {(entry.value, entry.seq)}, and asked again with {entry.again}"
        verdict.duplicated.append((entry.actor, found))
    if entry.reused not in (None, "id_reused"):
        found = f"{name} was sent again with other arguments, and the answer was {entry.reused}, not id_reused"
        verdict.duplicated.append((entry.actor, found))


def _may_differ(evidence: Evidence, entry: Entry) -> bool:
    """Whether the log that gave the answer may have been replaced by an older one."""
    return evidence.allowed.answer_may_differ(entry.sent_at + entry.waited_s)


def _check_events(
    evidence: Evidence, entry: Entry, mine: list[Event], followed: list[Event], verdict: Verdict
) -> None:
    """The events of the command itself, and of what it had others do."""
    done = entry.outcome in ("done", "stored")
    name = f"command {entry.id} ({entry.method})"
    expected = _own(entry) if done else []
    if not mine and entry.outcome == "stored" and evidence.may_be_missing(entry.actor, entry.id):
        verdict.excused += 1
        return
    _compare(entry.actor, name, expected, mine, verdict)
    answered = entry.outcome == "done" and not _may_differ(evidence, entry)
    if expected and len(mine) == len(expected) and answered and mine[-1].seq != entry.seq:
        found = f"{name} was answered with seq {entry.seq}, and its last event has {mine[-1].seq}"
        verdict.reordered.append((entry.actor, found))
    later = _later(entry) if done else []
    if later and not followed and entry.method == "forward" and evidence.may_be_missing(entry.target):
        verdict.excused += 1
        return
    _compare(entry.target or entry.actor, f"what follows from {name}", later, followed, verdict)


def _own(entry: Entry) -> list[tuple[str, int]]:
    """(type, amount) of the events that the command itself makes."""
    if entry.method == "forward":
        return [("Left", -entry.amount)]
    if entry.method == "run":
        return [(STEP, 0), (ANSWER, 0), (STEP, 0), ("ValueSet", 0)]
    return [] if entry.method == "add_later" else [("Added", entry.amount)]


def _later(entry: Entry) -> list[tuple[str, int]]:
    """(type, amount) of the events that it makes others have, or the actor itself later."""
    types = {"forward": "Arrived", "add_later": "Rang", "run": "Added"}
    return [(types[entry.method], entry.amount)] if entry.method in types else []


def _compare(
    actor: str, name: str, expected: list[tuple[str, int]], found: list[Event], verdict: Verdict
) -> None:
    counted = [(event.type, event.amount) for event in found]
    if counted == expected and all(event.actor == actor for event in found):
        return
    places = ", ".join(f"{event.actor}:{event.seq}" for event in found)
    text = f"{name} should have counted {expected}, and counted {counted} ({places})"
    (verdict.duplicated if len(found) > len(expected) else verdict.lost).append((actor, text))

"""The log by itself: gapless, in the broker's order, one epoch after the other; and every state is its fold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import accumulate

from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.lives import began_at, erased
from tests.chaos.log import Event
from tests.chaos.record import Look
from tests.chaos.rewritten import Rewritten, caused_by

ANSWER = "troupe.answer"
TOLD = ("troupe.signal", "troupe.cancel", "troupe.terminate")
"""What is said to an execution, also to one that waits for its key while another one has it."""

ROUNDED_S = 1e-5
"""What is lost of a time on its way through JSON and a column of microseconds."""


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Compares the log with itself, with the broker's order, and with every state that was told."""
    lanes: dict[int, list[Event]] = defaultdict(list)
    gone = erased(evidence.log.events.values())
    for actor, events in evidence.log.events.items():
        for event in events:
            lanes[event.lane].append(event)
        _check_actor(actor, events, _places(evidence, actor), verdict)
    for lane, events in lanes.items():
        events.sort(key=lambda event: event.position)
        _check_lane(lane, events, gone[lane], verdict)
    _check_sums(evidence, verdict)
    _check_states(evidence, verdict)


def _places(evidence: Evidence, actor: str) -> Mapping[str, int]:
    """command id → where the broker stored it first, but for those that it lost again."""
    places = evidence.stored.get(actor, {})
    if evidence.may_be_missing(actor):
        return {id: place for id, place in places.items() if not evidence.may_be_missing(actor, id)}
    return places


def _check_actor(actor: str, events: list[Event], stored: Mapping[str, int], verdict: Verdict) -> None:
    last_stored = {False: 0, True: 0}
    last_command = {False: "", True: ""}
    for number, event in enumerate(events, began_at(events)):
        if event.seq != number:
            verdict.lost.append((actor, f"event {event.seq} stands where {number} should"))
            return
        if event.early_s is not None and event.early_s > ROUNDED_S:
            verdict.reordered.append((actor, f"timer {event.command_id} fired {event.early_s:.3f} s before it was due"))
        if event.type in TOLD:
            continue
        # An answer is a message of its own: it does not wait for the execution that holds the key, and the other way.
        answer = event.type == ANSWER
        command = event.causation_id or "" if answer else event.command_id
        place, before = stored.get(command, 0), last_stored[answer]
        if place and place < before:
            found = f"command {command}, stored at {place}, follows {last_command[answer]}, stored at {before}"
            verdict.reordered.append((actor, found))
        if place > before:
            last_stored[answer], last_command[answer] = place, command


def _check_lane(lane: int, events: list[Event], gone: int, verdict: Verdict) -> None:
    """`gone` positions are missing: those of events of deleted actors."""
    before, missing = events[0], 0
    for number, event in enumerate(events, 1):
        missing = max(missing, min(event.position - number, gone))
        if event.position != number + missing:
            found = f"lane {lane}: position {event.position} stands where {number + missing} should"
            (verdict.lost if event.position > number + missing else verdict.duplicated).append((event.actor, found))
            return
        if event.epoch < before.epoch:
            found = f"lane {lane}: epoch {event.epoch} after {before.epoch} at position {event.position}"
            verdict.reordered.append((event.actor, found))
        if version_of(event) < version_of(before):
            found = f"lane {lane}: {event.code_version} after {before.code_version} at position {event.position}"
            verdict.reordered.append((event.actor, found))
        before = event
    if missing < gone:
        found = f"lane {lane}: {gone} events were deleted, and {missing} positions are missing"
        verdict.duplicated.append((before.actor, found))


def version_of(event: Event) -> int:
    """The number of the pod's version that wrote it."""
    return int(event.code_version.removeprefix("v"))


def _check_sums(evidence: Evidence, verdict: Verdict) -> None:
    """What left has arrived, tenant by tenant, and no counter ever gave what it had not."""
    moved: Counter[str] = Counter()
    for actor, events in evidence.log.events.items():
        tenant, kind, _ = actor.split("/")
        if kind != "counter":
            continue
        moved[tenant] += sum(event.amount for event in events if event.type in ("Left", "Arrived"))
        for number, value in enumerate(accumulate(event.amount for event in events), 1):
            if value < 0:
                verdict.duplicated.append((actor, f"event {number} makes the value {value}: it gave what it had not"))
                break
    if evidence.allowed.may_be_missing:
        return  # a message that the broker forgot never arrives
    strays = Rewritten(evidence).strays(evidence.record.entries, caused_by(evidence))
    for tenant, moved_there in moved.items():
        if balance := moved_there - strays[tenant]:
            found = f"transfers do not add up: {balance} " + ("too much arrived" if balance > 0 else "is on its way")
            (verdict.duplicated if balance > 0 else verdict.lost).append((tenant, found))


def _check_states(evidence: Evidence, verdict: Verdict) -> None:
    """Every state that was told is the fold of the log up to its sequence, and none is older than what was known."""
    log = evidence.log
    folds = {
        actor: [*[0] * began_at(events), *accumulate(event.amount for event in events)]
        for actor, events in log.events.items()
        if actor.split("/")[1] == "counter"
    }
    for actor, (seq, value) in log.snapshots.items():
        if seq >= len(folds[actor]) or folds[actor][seq] != value:
            verdict.lost.append((actor, f"the snapshot at {seq} says {value}, and the log does not fold to that"))
    if evidence.allowed.restored:
        _check_looks_across_restores(evidence, folds, verdict)
    else:
        _check_looks(evidence, folds, verdict)
    _check_ends(folds, "the actor", evidence.last_looks, verdict)
    for pid in set(evidence.owners) - {look.pid for look in evidence.last_looks.values()}:
        verdict.stuck.append((f"process {pid}", f"process {pid} owns counters, and none of them was answered by it"))
    if evidence.looks_of_one is not None:
        _check_ends(folds, "the pod that was left alone", evidence.looks_of_one, verdict)


def _check_ends(folds: Mapping[str, list[int]], who: str, looks: Mapping[str, Look], verdict: Verdict) -> None:
    for actor, fold in folds.items():
        last = looks.get(actor)
        if last is None:
            verdict.stuck.append((actor, f"{who} did not answer when it was asked for its value"))
        elif (last.seq, last.value) != (len(fold) - 1, fold[-1]):
            found = f"{who} says {last.value} at {last.seq}, and the log folds to {fold[-1]} at {len(fold) - 1}"
            verdict.lost.append((actor, found))


def _check_looks(evidence: Evidence, folds: Mapping[str, list[int]], verdict: Verdict) -> None:
    latest: dict[tuple[str, str], int] = {}
    for look in evidence.record.looks:
        _check_age(look, look.at_least, verdict)
        if look.seq >= began_at(evidence.log.events.get(look.actor, [])):
            _check_look(look, folds.get(look.actor, [0]), verdict)
        place = (look.caller, look.actor)
        if look.seq < latest.get(place, 0):
            found = f"a query at {look.seq} followed one at {latest[place]} by the same caller"
            verdict.reordered.append((look.actor, found))
        latest[place] = max(look.seq, latest.get(place, 0))


def _check_looks_across_restores(evidence: Evidence, folds: Mapping[str, list[int]], verdict: Verdict) -> None:
    """What was told by a log that is gone comes true again, but nobody says when: only the rest is a lower bound."""
    rewritten = Rewritten(evidence)
    told = rewritten.told(evidence)
    for look in evidence.record.looks:
        _check_age(look, told.before(look.actor, look.asked_at), verdict)
        if not rewritten.look_may_differ(look):
            _check_look(look, folds.get(look.actor, [0]), verdict)


def _check_age(look: Look, at_least: int, verdict: Verdict) -> None:
    if look.seq < at_least:
        found = f"a query was answered at {look.seq}, after somebody had been told {at_least}"
        verdict.reordered.append((look.actor, found))


def _check_look(look: Look, fold: list[int], verdict: Verdict) -> None:
    if look.seq >= len(fold):
        found = f"a query was answered at {look.seq}, and the log ends at {len(fold) - 1}"
        verdict.lost.append((look.actor, found))
    elif fold[look.seq] != look.value:
        found = f"a query was answered with {look.value} at {look.seq}, where the log folds to {fold[look.seq]}"
        verdict.lost.append((look.actor, found))

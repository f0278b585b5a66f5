"""The verdict on workflows: runs that are right, and the same with one thing wrong."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.chaos.allowances import Allowances
from tests.chaos.evidence import Evidence, Mark
from tests.chaos.log import Event, Log
from tests.chaos.record import Entry, Look, Record
from tests.chaos.test_verify import SECOND, entry, event, found, words
from tests.chaos.verify import verify

B = "acme/counter/b"
TRIP, LEG, ENDLESS, CHAIN = "acme/trip/f-1", "acme/leg/f-1-leg", "acme/endless/f-2", "acme/chain/f-3"
RECALLED, LEFT, HANDED = "acme/recalled/f-4", "acme/leg/f-4-leg", "acme/handed/f-5"

LOGS: dict[str, list[tuple[str, str, str | None]]] = {
    TRIP: [
        ("troupe.started", "trip", None), ("before", "trip", None), ("troupe.signal", "trip", "said"),
        ("$ask counter.add", "trip", None), ("left", "trip", None), ("right", "trip", None), ("$sleep", "trip", None),
        ("troupe.answer", "trip", "leg"), ("$signal go", "trip", None), ("after", "trip", None),
        ("troupe.ended", "trip", None),
    ],
    LEG: [
        ("troupe.started", "leg", "trip"), ("leg-before", "leg", "trip"), ("$sleep", "leg", "trip"),
        ("troupe.ended", "leg", "trip"),
    ],
    ENDLESS: [
        ("troupe.started", "endless", None), ("before", "endless", None), ("troupe.terminate", "endless", "stop"),
        ("troupe.ended", "endless", None),
    ],
    CHAIN: [
        ("troupe.started", "chain", None), ("troupe.signal", "chain", "more-1"), ("troupe.signal", "chain", "more-0"),
        ("round-0", "chain", None), ("$signal more-0", "chain", None), ("$continued", "chain", None),
        ("round-1", "chain", None), ("$signal more-1", "chain", None), ("troupe.ended", "chain", None),
    ],
    RECALLED: [
        ("troupe.started", "recalled", None), ("before", "recalled", None), ("troupe.cancel", "recalled", "no more"),
        ("$cancelled", "recalled", None), ("undo", "recalled", None), ("troupe.ended", "recalled", None),
    ],
    LEFT: [
        ("troupe.started", "left", "recalled"), ("leg-before", "left", "recalled"), ("troupe.cancel", "left", "told"),
        ("$cancelled", "left", "recalled"), ("leg-undo", "left", "recalled"), ("troupe.ended", "left", "recalled"),
    ],
    HANDED: [
        ("troupe.started", "handed", None), ("before", "handed", None), ("hand", "handed", None),
        ("troupe.signal", "handed", "token-1"), ("$external hand", "handed", None), ("after", "handed", None),
        ("troupe.ended", "handed", None),
    ],
}  # fmt: skip
"""actor → (type, or name of a step; command; what caused it)."""

OUTSIDE = {
    "trip": ["before", "left", "right", "leg-before", "after"], "endless": ["before"], "chain": ["round-0", "round-1"],
    "recalled": ["before", "leg-before", "undo", "leg-undo"], "handed": ["before", "hand", "after"],
}  # fmt: skip


def right() -> Evidence:
    """A trip with its child, one that joined it, runs terminated, of two rounds, cancelled, and with a token."""
    events: dict[str, list[Event]] = defaultdict(list)
    position = numbered = 0
    for actor, steps in LOGS.items():
        for name, command, cause in steps:
            position += 1
            numbered = 0 if name in ("troupe.started", "$continued") else numbered + 1
            type, more = (name, {}) if name.startswith("troupe.") else ("troupe.step", _step(name, numbered))
            seq = len(events[actor]) + 1
            events[actor].append(event(actor, seq, position, type, command, causation_id=cause, **more))
    events[B].append(event(B, 1, position + 1, "Added", "asked", 5, causation_id="trip"))
    entries = [
        _entry(TRIP, "trip", 5, target=B, value=10),
        _entry(TRIP, "joined", 5, method="join", value=10),
        _entry(TRIP, "late", 5, method="too-late", outcome="failed", error="not_running: it has ended"),
        _entry(ENDLESS, "endless", 3, outcome="terminated"),
        _entry(CHAIN, "chain", 2, value=4),
        _entry(RECALLED, "recalled", 7, outcome="cancelled"),
        _entry(HANDED, "handed", 4, value=8),
    ]
    inbox = {
        (one.actor, one.id): (one.seq, one.outcome != "done", "null" if one.value is None else str(one.value))
        for one in entries
    }
    outside = [
        Mark(what, f"acme/{command}", step, 1)
        for command, steps in OUTSIDE.items()
        for step in steps
        for what in ("ran", "had")
    ]
    looks = {B: Look(B, "end", 0, 1, 5, 10)}
    return Evidence(Log(events, inbox, [], {}), Record(entries, []), {}, looks, {}, outside)


def _step(name: str, number: int) -> dict[str, Any]:
    return {"step": name, "number": 0 if name in ("$continued", "$cancelled") else number}


def _entry(actor: str, id: str, amount: int, method: str = "run", **more: Any) -> Entry:
    seq = len(LOGS[actor])
    return entry(actor, id, method, amount, **({"seq": seq} | more))


def _drop(evidence: Evidence, actor: str, at: int) -> None:
    """The log without one event, and gapless."""
    events = evidence.log.events[actor]
    gone = events.pop(at - 1)
    events[at - 1 :] = [one._replace(seq=one.seq - 1) for one in events[at - 1 :]]
    for others in evidence.log.events.values():
        others[:] = [
            one._replace(position=one.position - 1) if one.position > gone.position else one for one in others
        ]


def test_given_workflows_that_are_right_when_verified_then_nothing_is_found() -> None:
    verdict = verify(right())
    assert verdict.good, verdict.findings
    assert verdict.acknowledged == 6


@pytest.mark.parametrize(
    ("actor", "at", "says"),
    [
        (TRIP, 5, "took the steps"), (TRIP, 3, "told 0 times"), (TRIP, 11, "has 0 events troupe.ended"),
        (LEG, 1, "has 0 events troupe.started"), (LEG, 2, "took the steps"), (CHAIN, 3, "told 1 times"),
        (CHAIN, 7, "took the steps"), (ENDLESS, 3, "told 0 times"), (RECALLED, 3, "told 0 times"),
        (HANDED, 3, "took the steps"), (HANDED, 4, "told 0 times"),
    ],
)  # fmt: skip
def test_given_an_event_of_a_run_that_is_missing_when_verified_then_it_is_lost(actor: str, at: int, says: str) -> None:
    evidence = right()
    _drop(evidence, actor, at)
    assert says in found(evidence)
    assert "lost" in words(verify(evidence))


@pytest.mark.parametrize(
    ("actor", "type", "more", "says"),
    [
        (TRIP, "troupe.step", {"step": "left", "number": 20}, "took the steps"),
        (TRIP, "troupe.step", {"step": "$sleep", "number": 4}, "2 entries for its request 4"),
        (TRIP, "troupe.ended", {}, "has 2 events troupe.ended"),
        (TRIP, "troupe.signal", {"causation_id": "said-again"}, "told 2 times"),
        (LEG, "troupe.started", {"causation_id": "trip"}, "has 2 events troupe.started"),
        (LEG, "troupe.step", {"step": "leg-undo", "number": 9, "causation_id": "trip"}, "took the steps"),
        (ENDLESS, "troupe.step", {"step": "undo", "number": 9}, "took the steps"),
        (RECALLED, "troupe.step", {"step": "after", "number": 9}, "took the steps"),
        (HANDED, "troupe.signal", {"causation_id": "token-2"}, "told 2 times"),
    ],
)
def test_given_an_event_too_many_when_verified_then_something_happened_twice(
    actor: str, type: str, more: dict[str, Any], says: str
) -> None:
    evidence = right()
    events, last = evidence.log.events[actor], max(one.position for one in evidence.log.events[B])
    run = events[0].command_id
    place = next((at for at, one in enumerate(events) if one.type == "troupe.ended"), 0)
    events.insert(place, event(actor, 0, last + 1, type, run, **more))
    events[:] = [one._replace(seq=number) for number, one in enumerate(events, 1)]
    assert says in found(evidence)
    assert "duplicated" in words(verify(evidence))


def test_given_a_start_that_joined_with_events_of_its_own_when_verified_then_it_ran_twice() -> None:
    evidence = right()
    events, last = evidence.log.events[TRIP], max(one.position for one in evidence.log.events[B])
    events.append(event(TRIP, len(events) + 1, last + 1, "troupe.started", "joined"))
    assert "joined a run, and has events of its own" in found(evidence)


@pytest.mark.parametrize(("outcome", "error"), [("done", ""), ("failed", "internal: it fell over")])
def test_given_a_signal_to_a_run_that_is_over_when_it_is_not_refused_then_that_is_found(
    outcome: str, error: str
) -> None:
    evidence = right()
    late = next(one for one in evidence.record.entries if one.method == "too-late")
    late.outcome, late.error = outcome, error  # type: ignore[assignment]  # of the two
    assert "was over, and command late" in found(evidence)


@pytest.mark.parametrize(
    ("command", "step", "says"),
    [
        ("trip", "leg-before", "its step leg-before never ran"), ("handed", "hand", "its step hand never ran"),
        ("chain", "round-1", "its step round-1 never ran"),
        ("recalled", "undo", "its step before is not undone"),
        ("recalled", "leg-undo", "its step leg-before is not undone"),
    ],
)  # fmt: skip
def test_given_a_step_that_did_nothing_outside_when_verified_then_it_is_lost(
    command: str, step: str, says: str
) -> None:
    evidence = right()
    place = (f"acme/{command}", step)
    evidence.outside = [mark for mark in evidence.outside if (mark.command, mark.step) != place]
    assert says in found(evidence)


@pytest.mark.parametrize(("command", "step"), [("endless", "undo"), ("trip", "leg-undo")])
def test_given_an_undoing_that_nobody_wanted_when_verified_then_it_is_found(command: str, step: str) -> None:
    evidence = right()
    evidence.outside = [*evidence.outside, Mark("ran", f"acme/{command}", step, 1)]
    assert f"its {step} ran" in found(evidence)


def test_given_a_step_of_a_workflow_that_runs_again_when_verified_then_it_is_found() -> None:
    evidence = right()
    evidence.outside = [*evidence.outside, Mark("ran", "acme/trip", "left", 2)]
    assert "step left ran again in process 2" in found(evidence)


def test_given_a_child_of_a_log_that_is_gone_when_its_parent_never_began_then_nobody_is_to_end_it() -> None:
    evidence = right()
    own = evidence.log.events[RECALLED]
    while any(one.type == "troupe.step" for one in own):
        _drop(evidence, RECALLED, next(one.seq for one in own if one.type == "troupe.step"))
    for _ in range(4):
        _drop(evidence, LEFT, 3)
    evidence.log.left.append((LEFT, "pending waiting left"))
    undone = (("undo", "acme/recalled"), ("leg-undo", "acme/recalled"), ("before", "acme/recalled"))
    evidence.outside = [mark for mark in evidence.outside if (mark.step, mark.command) not in undone]
    assert {"stuck", "lost"} <= words(verify(evidence))
    evidence.allowed = Allowances(restored=((SECOND - 5, SECOND + 5),))
    verdict = verify(evidence)
    assert verdict.good, verdict.findings

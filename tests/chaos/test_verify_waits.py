"""The verdict on executions that are told something while they wait."""

from __future__ import annotations

from typing import Any

from tests.chaos.evidence import Evidence, Mark
from tests.chaos.test_verify import change, entry, event, found, right, words
from tests.chaos.verify import verify

W = "acme/errand/w"


def waited() -> Evidence:
    """The right run, with an errand that was signalled and one that was cancelled."""
    evidence = right()
    step, more = "troupe.step", dict[str, Any](epoch=3, code_version="v2")
    evidence.log.events[W] = [
        event(W, 1, 13, step, "w-1", **more),
        event(W, 2, 14, "troupe.signal", "w-1", causation_id="w-1-0", **more),
        event(W, 3, 15, step, "w-1", **more),
        event(W, 4, 16, step, "w-1", **more),
        event(W, 5, 17, step, "w-1", **more),
        event(W, 6, 18, "ValueSet", "w-1", **more),
        event(W, 7, 19, step, "w-2", **more),
        event(W, 8, 20, "troupe.cancel", "w-2", causation_id="w-2-1", **more),
        event(W, 9, 21, step, "w-2", **more),
        event(W, 10, 22, step, "w-2", **more),
    ]
    evidence.log.inbox[W, "w-1"] = (6, False, "5")
    evidence.log.inbox[W, "w-2"] = (10, True, "{}")
    evidence.record.entries += [
        entry(W, "w-1", "wait", 5, value=5, seq=6),
        entry(W, "w-2", "leave", 0, outcome="cancelled", seq=10),
    ]
    marks = [("w-1", "before"), ("w-1", "after"), ("w-2", "before"), ("w-2", "undo")]
    evidence.outside = [
        *evidence.outside,
        *[Mark(what, f"acme/{command}", name, 12) for command, name in marks for what in ("ran", "had")],
    ]
    return evidence


def without(evidence: Evidence, place: int) -> None:
    """Drops the event of W at that sequence; the others close up."""
    events = evidence.log.events[W]
    gone = events.pop(place - 1)
    for number, one in enumerate(events[place - 1 :], place):
        events[number - 1] = one._replace(seq=number, position=one.position - 1)
    assert gone.seq == place


def test_given_errands_that_were_signalled_and_cancelled_when_verified_then_nothing_is_found() -> None:
    evidence = waited()
    verdict = verify(evidence)
    assert verdict.good, verdict.findings
    assert verdict.acknowledged == 9


def test_given_a_cancelled_errand_that_never_began_when_verified_then_nothing_is_found() -> None:
    evidence = waited()
    for place in (10, 9, 7):
        without(evidence, place)
    evidence.outside = [mark for mark in evidence.outside if mark.command != "acme/w-2"]
    assert verify(evidence).good, found(evidence)


def test_given_a_signal_that_no_event_tells_of_when_verified_then_it_is_lost() -> None:
    evidence = waited()
    without(evidence, 2)
    evidence.log.inbox[W, "w-1"] = (5, False, "5")
    evidence.record.entries[-2].seq = 5
    assert words(verify(evidence)) == {"lost"}
    assert "w-1 (wait) was told 0 times by troupe.signal" in found(evidence)


def test_given_a_signal_that_was_told_twice_when_verified_then_it_is_duplicated() -> None:
    evidence = waited()
    change(evidence, W, 3, type="troupe.signal")
    assert words(verify(evidence)) == {"duplicated", "lost"}
    assert "w-1 (wait) was told 2 times by troupe.signal" in found(evidence)


def test_given_a_cancelled_errand_that_is_not_undone_when_verified_then_it_is_lost() -> None:
    evidence = waited()
    evidence.outside = [mark for mark in evidence.outside if mark.step != "undo"]
    assert words(verify(evidence)) == {"lost"}
    assert "w-2 was cancelled, and its step before is not undone" in found(evidence)


def test_given_a_cancelled_errand_that_went_on_when_verified_then_it_is_duplicated() -> None:
    evidence = waited()
    evidence.log.events[W].append(
        event(W, 11, 23, "ValueSet", "w-2", epoch=3, code_version="v2")
    )
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_step_that_ran_again_after_its_errand_was_signalled_when_verified_then_it_is_duplicated() -> None:
    evidence = waited()
    evidence.outside = [*evidence.outside, Mark("ran", "acme/w-1", "before", 13)]
    assert words(verify(evidence)) == {"duplicated"}

"""The verdict on deleted actors: lives that are right, and the same with one thing wrong."""

from __future__ import annotations

import msgspec
import pytest

from schemas.wire import Failure
from tests.chaos.evidence import Evidence
from tests.chaos.log import Log
from tests.chaos.record import Entry, Look, Record
from tests.chaos.test_verify import entry, event, found
from tests.chaos.verify import verify

D, OTHER = "acme/counter/d", "acme/counter/o"
GONE = msgspec.json.encode(Failure("deleted", "the actor was deleted")).decode()


def order(number: int, seq: int) -> Entry:
    return entry(D, f"d-{number}", "delete", 0, seq=seq)


def right() -> Evidence:
    """Two lives that are over (events 1 to 2, and 3 to 4, of which nothing is left), and one that goes on."""
    events = {
        D: [event(D, 5, 6, "troupe.deleted", "delete-d-5"), event(D, 6, 8, "Added", "d-6", 9)],
        OTHER: [event(OTHER, 1, 2, "Added", "o-1", 1), event(OTHER, 2, 7, "Added", "o-2", 2)],
    }
    entries = [
        entry(D, "d-1", "add", 5, value=5, seq=1), entry(D, "d-2", "add", 5, value=10, seq=2), order(3, 3),
        entry(D, "d-4", "add", 7, value=7, seq=4), order(5, 5), entry(D, "d-6", "add", 9, value=9, seq=6),
        entry(OTHER, "o-1", "add", 1, value=1, seq=1), entry(OTHER, "o-2", "add", 2, value=3, seq=2),
    ]  # fmt: skip
    inbox = {(D, f"d-{number}"): (number, True, GONE) for number in (1, 2, 4)}
    inbox |= {(D, "d-6"): (6, False, "9"), (OTHER, "o-1"): (1, False, "1"), (OTHER, "o-2"): (2, False, "3")}
    looks = {D: Look(D, "end", 0, 6, 9, 10), OTHER: Look(OTHER, "end", 0, 2, 3, 10)}
    seen = [Look(D, "one", 0, 2, 10, 10), Look(D, "one", 3, 6, 9, 10)]
    return Evidence(Log(events, inbox, [], {D: (5, 0)}), Record(entries, [], seen), {}, looks, {}, [])


def test_given_lives_that_are_right_when_verified_then_nothing_is_found() -> None:
    verdict = verify(right())
    assert verdict.good, verdict.findings
    assert verdict.acknowledged == 8


def test_given_an_event_that_outlived_its_actor_when_verified_then_it_is_found() -> None:
    evidence = right()
    evidence.log.events[D].insert(0, event(D, 4, 5, "Added", "d-4", 7))
    assert "event 4 stands where 1 should" in found(evidence)


def test_given_a_deletion_that_was_answered_and_is_not_in_the_log_when_verified_then_it_is_lost() -> None:
    evidence = right()
    evidence.record.entries.append(order(7, 7))
    assert "it was deleted at 7, and its events begin at 5" in found(evidence)


def test_given_a_deletion_more_than_was_answered_when_verified_then_it_happened_twice() -> None:
    evidence = right()
    evidence.record.entries[4].seq = 3
    assert "it was deleted at 3, and again at 5" in found(evidence)
    evidence.record.entries[4].outcome = "unknown"
    assert verify(evidence).good, "of an order that nobody answered nobody knows"


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (None, "would be done again"), ((4, False, "7"), "the inbox says 7"),
        ((4, True, GONE.replace("deleted", "rejected", 1)), "the inbox says"),
    ],
)  # fmt: skip
def test_given_an_answer_of_a_life_that_is_over_when_verified_then_it_is_found(
    kept: tuple[int, bool, str] | None, says: str
) -> None:
    evidence = right()
    del evidence.log.inbox[D, "d-4"]
    if kept is not None:
        evidence.log.inbox[D, "d-4"] = kept
    assert says in found(evidence)


def test_given_a_command_of_another_life_that_counts_again_when_verified_then_it_happened_twice() -> None:
    evidence = right()
    evidence.log.events[D].append(event(D, 7, 9, "Added", "d-4", 7))
    assert "d-4 was deleted with its actor, and has the event 7" in found(evidence)


def test_given_fewer_positions_missing_than_events_were_deleted_when_verified_then_one_is_too_many() -> None:
    evidence = right()
    for events in evidence.log.events.values():
        events[:] = [one._replace(position=one.position - 1) for one in events]
    assert "4 events were deleted, and 3 positions are missing" in found(evidence)


def test_given_more_positions_missing_than_events_were_deleted_when_verified_then_one_is_lost() -> None:
    evidence = right()
    events = evidence.log.events[D]
    events[1] = events[1]._replace(position=9)
    assert "position 9 stands where 8 should" in found(evidence)


def test_given_a_state_that_a_new_life_has_from_the_one_before_when_verified_then_it_is_found() -> None:
    evidence = right()
    evidence.last_looks = {**evidence.last_looks, D: Look(D, "end", 0, 6, 16, 10)}
    assert "says 16 at 6, and the log folds to 9 at 6" in found(evidence)

"""The verdict finds what it is there to find: a log that is right, and the same log with one thing wrong."""

from __future__ import annotations

from collections import defaultdict

from tests.chaos.log import Event, Log
from tests.chaos.record import Entry, Record
from tests.chaos.verify import Verdict, verify


def right() -> tuple[Log, Record, dict[str, dict[str, int]], dict[str, int]]:
    """Two additions, a transfer and a timer, as they should be."""
    events = {
        "a": [event("a", 1, 1, "a-1", 5), event("a", 2, 2, "a-2", 7), event("a", 3, 3, "a-3", -4)],
        "b": [event("b", 1, 4, "digest", 4, cause="a-3"), event("b", 2, 5, "fired", 9, cause="b-1")],
    }
    inbox = {
        ("a", "a-1"): (1, False, "5"),
        ("a", "a-2"): (2, False, "12"),
        ("a", "a-3"): (3, False, "null"),
        ("b", "b-1"): (1, False, "null"),
    }
    record = Record(
        [
            Entry("a", "a-1", "add", 5, "", 0.0, 0.1, "done", 5, 1, again=(5, 1)),
            Entry("a", "a-2", "add", 7, "", 0.0, 0.1, "done", 12, 2),
            Entry("a", "a-3", "forward", 4, "b", 0.0, 0.1, "done", None, 3),
            Entry("b", "b-1", "add_later", 9, "", 0.0, 0.1, "done", None, 1),
        ],
        [],
    )
    stored = {"a": {"a-1": 10, "a-2": 11, "a-3": 12}, "b": {"b-1": 13, "digest": 14}}
    log = Log(defaultdict(list, events), inbox, [], {"a": (2, 12)})
    return log, record, stored, {"a": 8, "b": 13}


def event(
    key: str, seq: int, position: int, command: str, amount: int, *, cause: str | None = None, epoch: int = 1
) -> Event:
    return Event(key, seq, 0, position, epoch, command, cause, amount, 0.0)


def words(verdict: Verdict) -> set[str]:
    """The words under which something was found."""
    return {word for word, findings in verdict.findings.items() if findings}


def test_given_a_log_that_is_right_when_verified_then_nothing_is_found() -> None:
    verdict = verify(*right())
    assert verdict.good
    assert verdict.acknowledged == 4


def test_given_an_acknowledged_command_without_event_when_verified_then_it_is_lost() -> None:
    log, record, stored, values = right()
    record.entries.append(Entry("b", "b-2", "add", 3, "", 0.0, 0.1, "done", 16, 3))
    assert words(verify(log, record, stored, values)) == {"lost"}


def test_given_a_transfer_that_never_arrived_when_verified_then_it_is_lost() -> None:
    log, record, stored, values = right()
    log.events["b"] = [event("b", 1, 4, "fired", 9, cause="b-1")]
    assert words(verify(log, record, stored, values | {"b": 9})) == {"lost"}


def test_given_a_command_counted_twice_when_verified_then_it_is_duplicated() -> None:
    log, record, stored, values = right()
    log.events["b"].append(event("b", 3, 6, "digest", 4, cause="a-3"))
    assert words(verify(log, record, stored, values | {"b": 17})) == {"duplicated"}


def test_given_an_event_nobody_asked_for_when_verified_then_it_is_duplicated() -> None:
    log, record, stored, values = right()
    log.events["b"].append(event("b", 3, 6, "from nowhere", 1))
    assert words(verify(log, record, stored, values | {"b": 14})) == {"duplicated"}


def test_given_a_repeat_with_another_answer_when_verified_then_it_is_duplicated() -> None:
    log, record, stored, values = right()
    record.entries[0].again = (10, 2)
    assert words(verify(log, record, stored, values)) == {"duplicated"}


def test_given_commands_in_another_order_than_the_brokers_when_verified_then_they_are_reordered() -> None:
    log, record, stored, values = right()
    stored["a"] = {"a-1": 11, "a-2": 10, "a-3": 12}
    assert words(verify(log, record, stored, values)) == {"reordered"}


def test_given_an_epoch_that_goes_back_when_verified_then_it_is_reordered() -> None:
    log, record, stored, values = right()
    log.events["a"][0] = log.events["a"][0]._replace(epoch=2)
    assert words(verify(log, record, stored, values)) == {"reordered"}


def test_given_a_gap_in_the_positions_when_verified_then_something_is_lost() -> None:
    log, record, stored, values = right()
    log.events["b"][-1] = log.events["b"][-1]._replace(position=6)
    assert words(verify(log, record, stored, values)) == {"lost"}


def test_given_a_snapshot_that_is_not_the_fold_when_verified_then_something_is_lost() -> None:
    log, record, stored, values = right()
    log.snapshots["a"] = (2, 11)
    assert words(verify(log, record, stored, values)) == {"lost"}


def test_given_memory_that_is_not_the_fold_when_verified_then_something_is_lost() -> None:
    log, record, stored, values = right()
    assert words(verify(log, record, stored, values | {"a": 9})) == {"lost"}


def test_given_a_command_without_answer_or_work_left_when_verified_then_it_is_stuck() -> None:
    log, record, stored, values = right()
    record.entries.append(Entry("b", "b-2", "add", 3, "", 0.0))
    log.left.append(("b", "timer x"))
    verdict = verify(log, record, stored, values)
    assert words(verdict) == {"stuck"}
    assert len(verdict.stuck) == 2

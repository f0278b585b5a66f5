"""The verdict finds what it is there to find: a run that is right, and the same run with one thing wrong."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import pytest

from tests.chaos.allowances import Allowances
from tests.chaos.evidence import Evidence, Mark, Verdict
from tests.chaos.log import Event, Log
from tests.chaos.record import Entry, Look, Reading, Record, Seen
from tests.chaos.verify import verify

A, B, E, T = "acme/counter/a", "acme/counter/b", "acme/errand/e", "globex/counter/a"
S = "acme/s"
SECOND = 1_800_000_000.0


def event(actor: str, seq: int, position: int, type: str, command: str, amount: int = 0, **more: Any) -> Event:
    given: dict[str, Any] = {"epoch": 1, "causation_id": None, "session": None, "code_version": "v1"}
    given |= {"early_s": None, "at": SECOND} | more
    return Event(actor=actor, seq=seq, lane=0, position=position, type=type, command_id=command, amount=amount, **given)


def entry(actor: str, id: str, method: str, amount: int, **more: Any) -> Entry:
    given: dict[str, Any] = {"target": "", "sent_at": SECOND, "waited_s": 0.1, "outcome": "done"} | more
    return Entry(actor, id, method, amount, **given)


def right() -> Evidence:
    """Two additions under a session, a transfer, a timer, a publish, an errand, looks and readers, as they should be.

    The last addition is another tenant's, to an actor of the same name, with the id of the first.
    """
    events = [
        event(A, 1, 1, "Added", "a-1", 5, session="s"),
        event(A, 2, 2, "Added", "a-2", 7, session="s"),
        event(A, 3, 3, "Left", "a-3", -4),
        event(B, 1, 4, "Arrived", "digest", 4, causation_id="a-3"),
        event(B, 2, 5, "Rang", "fired", 9, causation_id="b-1", early_s=-0.01, epoch=2),
        event(B, 3, 6, "Added", "b-2", 1, epoch=2),
        event(E, 1, 7, "troupe.step", "e-1", epoch=3),
        event(B, 4, 8, "Added", "asked", 3, causation_id="e-1", epoch=3),
        event(E, 2, 9, "troupe.answer", "e-1", epoch=3),
        event(E, 3, 10, "troupe.step", "e-1", epoch=3, code_version="v2"),
        event(E, 4, 11, "ValueSet", "e-1", epoch=3, code_version="v2"),
        event(T, 1, 12, "Added", "a-1", 2, epoch=3, code_version="v2"),
    ]
    by_actor: dict[str, list[Event]] = defaultdict(list)
    for one in events:
        by_actor[one.actor].append(one)
    inbox = {
        (A, "a-1"): (1, False, "5"),
        (A, "a-2"): (2, False, "12"),
        (A, "a-3"): (3, False, "8"),
        (B, "b-1"): (1, False, "null"),
        (B, "b-2"): (3, False, "14"),
        (E, "e-1"): (4, False, "1"),
        (T, "a-1"): (1, False, "2"),
    }
    facts = [
        Seen(1, "event", "a-1", "0:1", actor="counter/a"),
        Seen(2, "result", "a-1", None, actor="counter/a"),
        Seen(5, "event", "a-2", "0:2", actor="counter/a"),
        Seen(6, "result", "a-2", None, actor="counter/a"),
    ]
    record = Record(
        [
            entry(A, "a-1", "add", 5, value=5, seq=1, again=(5, 1), session=S),
            entry(A, "a-2", "add", 7, value=12, seq=2, reused="id_reused", session=S),
            entry(A, "a-3", "forward", 4, target=B, value=8, seq=3),
            entry(B, "b-1", "add_later", 9, value=None, seq=1),
            entry(B, "b-2", "add", 1, outcome="stored", via="publish"),
            entry(E, "e-1", "run", 3, target=B, value=1, seq=4),
            entry(T, "a-1", "add", 2, value=2, seq=1),
        ],
        [],
        [Look(A, "one", 0, 1, 5, 10), Look(A, "one", 1, 2, 12, 11), Look(B, "other", 0, 0, 0, 11)],
        [Reading(S, "nats", list(facts), 1, True), Reading(S, "sse", list(facts), 2, True)],
    )
    stored = {A: {"a-1": 10, "a-2": 11, "a-3": 12}, B: {"b-1": 13, "digest": 14, "b-2": 15}}
    ends = {A: (3, 8), B: (4, 17), T: (1, 2)}
    looks = {actor: Look(actor, "end", 0, seq, value, 10) for actor, (seq, value) in ends.items()}
    outside = [
        Mark("ran", "acme/e-1", "before", 10),
        Mark("ran", "acme/e-1", "before", 11),  # cut off before it was recorded, and taken again
        Mark("had", "acme/e-1", "before", 11),
        Mark("ran", "acme/e-1", "after", 11),
        Mark("had", "acme/e-1", "after", 11),
    ]
    return Evidence(Log(by_actor, inbox, [], {A: (2, 12)}), record, stored, looks, {S: facts}, outside)


def words(verdict: Verdict) -> set[str]:
    """The words under which something was found."""
    return {word for word, findings in verdict.findings.items() if findings}


def found(evidence: Evidence) -> str:
    """Everything that was found, as one text."""
    return "\n".join(text for findings in verify(evidence).findings.values() for _, text in findings)


def change(evidence: Evidence, actor: str, seq: int, **more: Any) -> None:
    """Another event in place of one."""
    events = evidence.log.events[actor]
    events[seq - 1] = events[seq - 1]._replace(**more)


def test_given_a_run_that_is_right_when_verified_then_nothing_is_found() -> None:
    verdict = verify(right())
    assert verdict.good, verdict.findings
    assert (verdict.acknowledged, verdict.excused) == (7, 0)


# -- lost -------------------------------------------------------------------------------------------------------------


def test_given_an_acknowledged_command_without_event_when_verified_then_it_is_lost() -> None:
    evidence = right()
    evidence.record.entries.append(entry(B, "b-3", "add", 3, value=20, seq=5))
    assert words(verify(evidence)) == {"lost"}


def test_given_a_command_that_the_broker_acknowledged_without_event_when_verified_then_it_is_lost() -> None:
    evidence = right()
    evidence.record.entries.append(entry(B, "b-3", "add", 3, outcome="stored", via="publish"))
    assert words(verify(evidence)) == {"lost"}
    evidence.allowed = Allowances(may_be_missing=frozenset({("acme.counter.b", "b-3")}))
    verdict = verify(evidence)
    assert verdict.good
    assert verdict.excused == 1


def test_given_a_transfer_that_never_arrived_when_verified_then_it_is_lost_and_the_sum_is_short() -> None:
    evidence = right()
    change(evidence, B, 1, type="Added", command_id="b-0", amount=4, causation_id=None)
    evidence.record.entries.append(entry(B, "b-0", "add", 4, outcome="stored"))
    assert words(verify(evidence)) == {"lost"}
    assert "transfers do not add up: -4 is on its way" in found(evidence)


def test_given_a_gap_in_the_positions_when_verified_then_something_is_lost() -> None:
    evidence = right()
    change(evidence, T, 1, position=13)
    assert words(verify(evidence)) == {"lost"}


def test_given_a_snapshot_that_is_not_the_fold_when_verified_then_something_is_lost() -> None:
    evidence = right()
    evidence.log.snapshots[A] = (2, 11)
    assert words(verify(evidence)) == {"lost"}


def test_given_memory_that_is_not_the_fold_when_verified_then_something_is_lost() -> None:
    evidence = right()
    evidence.last_looks = {**evidence.last_looks, A: Look(A, "end", 0, 3, 9, 10)}
    assert words(verify(evidence)) == {"lost"}


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(Look(A, "new", 0, 2, 5, 12), id="an older state"),
        pytest.param(Look(A, "new", 0, 4, 9, 12), id="one that was never committed"),
    ],
)
def test_given_a_query_answered_with_what_the_log_does_not_fold_to_when_verified_then_something_is_lost(
    look: Look,
) -> None:
    evidence = right()
    evidence.record.looks.append(look)
    assert words(verify(evidence)) == {"lost"}


def test_given_an_answer_that_the_inbox_does_not_know_when_verified_then_it_is_lost() -> None:
    evidence = right()
    del evidence.log.inbox[A, "a-3"]
    assert words(verify(evidence)) == {"lost"}


def test_given_an_errand_whose_step_never_ran_when_verified_then_it_is_lost() -> None:
    evidence = right()
    evidence.outside = evidence.outside[:3]
    assert words(verify(evidence)) == {"lost"}


# -- duplicated -------------------------------------------------------------------------------------------------------


def test_given_a_command_counted_twice_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    evidence.log.events[T].append(event(T, 2, 13, "Added", "a-1", 2, epoch=3, code_version="v2"))
    evidence.last_looks = {**evidence.last_looks, T: Look(T, "end", 0, 2, 4, 10)}
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_transfer_that_arrived_twice_when_verified_then_the_sum_is_too_large() -> None:
    evidence = right()
    arrived = event(B, 5, 13, "Arrived", "digest2", 4, causation_id="a-3", epoch=3, code_version="v2")
    evidence.log.events[B].append(arrived)
    evidence.last_looks = {**evidence.last_looks, B: Look(B, "end", 0, 5, 21, 10)}
    assert words(verify(evidence)) == {"duplicated"}
    assert "transfers do not add up: 4 too much arrived" in found(evidence)


def test_given_a_counter_below_zero_when_verified_then_it_gave_twice() -> None:
    evidence = right()
    change(evidence, A, 3, amount=-40)
    change(evidence, B, 1, amount=40)
    evidence.record.entries[2].amount = 40
    evidence.log.inbox[A, "a-3"] = (3, False, "-28")
    evidence.record.entries[2].value = -28
    evidence.last_looks = {A: Look(A, "end", 0, 3, -28, 1), B: Look(B, "end", 0, 4, 53, 1), T: evidence.last_looks[T]}
    assert words(verify(evidence)) == {"duplicated"}


def test_given_an_event_nobody_asked_for_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    evidence.log.events[T].append(event(T, 2, 13, "Added", "from nowhere", 1, epoch=3, code_version="v2"))
    evidence.last_looks = {**evidence.last_looks, T: Look(T, "end", 0, 2, 3, 10)}
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_timer_that_fired_twice_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    rang = event(B, 5, 13, "Rang", "fired", 9, causation_id="b-1", early_s=-1.0, epoch=3, code_version="v2")
    evidence.log.events[B].append(rang)
    evidence.last_looks = {**evidence.last_looks, B: Look(B, "end", 0, 5, 26, 10)}
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_repeat_with_another_answer_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    evidence.record.entries[0].again = (10, 2)
    assert words(verify(evidence)) == {"duplicated"}


def test_given_an_id_that_was_taken_with_other_arguments_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    evidence.record.entries[1].reused = "taken"
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_position_twice_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    change(evidence, T, 1, position=11)
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_completed_step_that_ran_again_when_verified_then_it_is_duplicated_unless_its_pod_was_frozen() -> None:
    evidence = right()
    evidence.outside = [*evidence.outside, Mark("ran", "acme/e-1", "before", 12)]
    assert words(verify(evidence)) == {"duplicated"}
    evidence.pids_frozen = {12}
    assert verify(evidence).good


# -- reordered --------------------------------------------------------------------------------------------------------


def test_given_commands_in_another_order_than_the_brokers_when_verified_then_they_are_reordered() -> None:
    evidence = right()
    evidence.stored = {A: {"a-1": 11, "a-2": 10, "a-3": 12}}
    assert words(verify(evidence)) == {"reordered"}


@pytest.mark.parametrize("what", [{"epoch": 4}, {"code_version": "v3"}])
def test_given_two_epochs_or_versions_interleaved_in_a_lane_when_verified_then_it_is_reordered(
    what: dict[str, Any],
) -> None:
    evidence = right()
    change(evidence, A, 2, **what)
    assert words(verify(evidence)) == {"reordered"}


def test_given_a_timer_that_fired_early_when_verified_then_it_is_reordered() -> None:
    evidence = right()
    change(evidence, B, 2, early_s=0.001)
    assert words(verify(evidence)) == {"reordered"}


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(Look(A, "new", 3, 2, 12, 10), id="older than what somebody was told"),
        pytest.param(Look(A, "one", 0, 1, 5, 10), id="older than the caller's last"),
    ],
)
def test_given_a_stale_query_when_verified_then_it_is_reordered(look: Look) -> None:
    evidence = right()
    evidence.record.looks.append(look)
    assert words(verify(evidence)) == {"reordered"}


def test_given_an_answer_with_another_sequence_than_its_event_when_verified_then_it_is_reordered() -> None:
    evidence = right()
    evidence.record.entries[2].seq = 4
    assert words(verify(evidence)) == {"reordered"}


# -- stuck ------------------------------------------------------------------------------------------------------------


def test_given_a_command_without_answer_or_work_left_when_verified_then_it_is_stuck() -> None:
    evidence = right()
    evidence.record.entries.append(entry(B, "b-3", "add", 3, outcome="stuck"))
    evidence.log.left.append((B, "timer x"))
    verdict = verify(evidence)
    assert words(verdict) == {"stuck"}
    assert len(verdict.stuck) == 2


def test_given_a_pod_that_was_not_heard_when_verified_then_it_is_stuck() -> None:
    evidence = right()
    evidence.owners = {10, 11}
    assert "process 11 owns counters, and none of them was answered by it" in found(evidence)


def test_given_one_pod_that_has_all_lanes_when_it_folds_otherwise_then_something_is_lost() -> None:
    evidence = right()
    evidence.looks_of_one = dict(evidence.last_looks)
    assert verify(evidence).good
    evidence.looks_of_one = {**evidence.last_looks, B: Look(B, "end", 0, 4, 18, 12)}
    assert "the pod that was left alone says 18 at 4, and the log folds to 17 at 4" in found(evidence)


def test_given_an_actor_that_does_not_say_its_value_when_verified_then_it_is_stuck() -> None:
    evidence = right()
    evidence.last_looks = {actor: look for actor, look in evidence.last_looks.items() if actor != A}
    assert words(verify(evidence)) == {"stuck"}


# -- streams ----------------------------------------------------------------------------------------------------------


def first(evidence: Evidence) -> list[Seen]:
    """What the first reader saw."""
    return evidence.record.readings[0].seen


def test_given_a_reader_with_a_gap_when_verified_then_something_is_lost() -> None:
    evidence = right()
    del first(evidence)[2]
    assert words(verify(evidence)) == {"lost"}


def test_given_a_reader_that_was_given_a_fact_twice_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    first(evidence).insert(3, first(evidence)[2])
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_fact_that_was_stored_twice_when_verified_then_it_is_duplicated() -> None:
    evidence = right()
    again = Seen(7, "event", "a-2", "0:2")
    evidence.facts = {S: [*evidence.facts[S], again]}
    for reading in evidence.record.readings:
        reading.seen.append(again)
    assert words(verify(evidence)) == {"duplicated"}


def test_given_facts_in_another_order_than_their_events_when_verified_then_they_are_reordered() -> None:
    evidence = right()
    one, answer, two, last = evidence.facts[S]
    turned = [one._replace(sequence=5), answer, two._replace(sequence=1), last]
    turned.sort()
    evidence.facts = {S: turned}
    for reading in evidence.record.readings:
        reading.seen = list(turned)
    assert words(verify(evidence)) == {"reordered"}


def test_given_an_event_without_fact_when_verified_then_it_is_lost() -> None:
    evidence = right()
    evidence.facts = {S: [seen for seen in evidence.facts[S] if seen.position != "0:2"]}
    for reading in evidence.record.readings:
        reading.seen = list(evidence.facts[S])
    assert words(verify(evidence)) == {"lost"}


def test_given_a_fact_of_what_was_never_committed_when_verified_then_it_is_lost() -> None:
    evidence = right()
    evidence.facts = {S: [*evidence.facts[S], Seen(7, "event", "a-9", "0:99")]}
    for reading in evidence.record.readings:
        reading.seen = list(evidence.facts[S])
    assert words(verify(evidence)) == {"lost"}


def test_given_a_reader_that_was_reset_when_the_log_filled_its_gap_then_nothing_is_found() -> None:
    evidence = right()
    reading = evidence.record.readings[0]
    from_log = [seen._replace(sequence=0) for seen in evidence.facts[S] if seen.position]
    reading.seen = [evidence.facts[S][0], Seen(-1, "reset", "", None), *from_log]
    assert verify(evidence).good
    del reading.seen[-1]
    assert words(verify(evidence)) == {"lost"}


def test_given_a_reader_that_never_ended_when_verified_then_it_is_stuck() -> None:
    evidence = right()
    evidence.record.readings[1].ended = False
    assert words(verify(evidence)) == {"stuck"}


def test_given_a_record_when_written_and_read_then_nothing_changes() -> None:
    record = right().record
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


# -- a restored backup, and a power cut -------------------------------------------------------------------------------


RESTORED = Allowances(restored=((SECOND - 1, SECOND + 20),))


def restored() -> Evidence:
    """The run that is right, with a backup that was put back right after everything was answered."""
    evidence = right()
    evidence.allowed = RESTORED
    looks = evidence.record.looks
    evidence.record.looks = [Look(it.actor, it.caller, 0, it.seq, it.value, it.pid, SECOND, SECOND) for it in looks]
    for session, facts in evidence.facts.items():
        evidence.facts = {session: [fact._replace(at=SECOND) for fact in facts]}
    return evidence


def test_given_a_restored_backup_when_all_came_again_then_nothing_is_found() -> None:
    verdict = verify(restored())
    assert verdict.good, verdict.findings


def test_given_a_restored_backup_when_an_actor_that_only_gets_additions_answers_otherwise_then_it_is_lost() -> None:
    evidence = restored()
    evidence.log.inbox[T, "a-1"] = (1, False, "3")
    assert words(verify(evidence)) == {"lost"}
    evidence = restored()
    evidence.record.entries[-1].seq = 2
    assert words(verify(evidence)) == {"reordered"}


def test_given_a_restored_backup_when_a_mixed_actor_answers_otherwise_then_that_is_allowed_around_it_only() -> None:
    evidence = restored()
    evidence.log.inbox[A, "a-1"] = (1, False, "6")
    assert verify(evidence).good
    evidence.allowed = Allowances(restored=((SECOND + 1, SECOND + 20),))
    assert "was answered with 5, and the inbox says 6" in found(evidence)


def test_given_a_restored_backup_when_an_answer_is_not_in_the_log_then_it_is_lost() -> None:
    evidence = restored()
    del evidence.log.inbox[A, "a-3"]
    assert words(verify(evidence)) == {"lost"}


def test_given_a_restored_backup_when_a_transfer_is_refused_that_had_left_then_its_message_may_arrive_once() -> None:
    evidence = restored()
    del evidence.log.events[A][2]
    change(evidence, A, 2, position=2)
    evidence.log.inbox[A, "a-3"] = (2, True, '{"code":"rejected","message":""}')
    evidence.last_looks = {**evidence.last_looks, A: Look(A, "end", 0, 2, 12, 10)}
    for actor, events in evidence.log.events.items():  # the positions behind it move up
        evidence.log.events[actor] = [
            one._replace(position=one.position - (one.position > 3)) for one in events
        ]
    assert verify(evidence).good, found(evidence)
    evidence.allowed = Allowances()
    assert "transfers do not add up: 4 too much arrived" in found(evidence)


def test_given_a_restored_backup_when_a_transfer_is_done_that_had_been_refused_then_that_is_allowed() -> None:
    evidence = restored()
    evidence.record.entries[2].outcome = "rejected"
    assert verify(evidence).good, found(evidence)
    evidence.allowed = Allowances()
    assert not verify(evidence).good


def test_given_a_restored_backup_when_an_errands_answer_came_before_its_first_step_then_that_is_allowed() -> None:
    evidence = restored()
    first_, second, *rest = evidence.log.events[E]
    evidence.log.events[E] = [second._replace(seq=1, position=7), first_._replace(seq=2, position=9), *rest]
    assert verify(evidence).good, found(evidence)
    evidence.allowed = Allowances()
    assert words(verify(evidence)) == {"lost"}


def test_given_a_step_completed_before_the_backup_when_it_runs_after_it_is_back_then_it_is_duplicated() -> None:
    evidence = restored()
    done, again = list(evidence.outside), Mark("ran", "acme/e-1", "before", 12)
    backup, back = Mark("backup", "-", "-", 0), Mark("restored", "-", "-", 0)
    evidence.outside = [backup, *done, back, again]
    assert verify(evidence).good
    evidence.outside = [*done, backup, back, again]
    assert words(verify(evidence)) == {"duplicated"}


def test_given_a_restored_backup_when_a_query_is_older_than_what_was_told_before_it_then_it_is_reordered() -> None:
    evidence = restored()
    evidence.allowed = Allowances(restored=((SECOND + 10, SECOND + 20),))
    evidence.record.looks = [Look(A, "new", 0, 0, 0, 10, SECOND + 30, SECOND + 31)]
    assert words(verify(evidence)) == {"reordered"}
    evidence.allowed = RESTORED  # what was told may be of the log that is gone: it comes true again, some time
    assert verify(evidence).good, found(evidence)


def test_given_a_restored_backup_when_an_event_of_the_log_has_no_fact_then_it_is_lost() -> None:
    evidence = restored()
    gone = evidence.facts[S][0]._replace(command="a-0")  # another event was there in the log that is gone
    evidence.facts = {S: [gone, *evidence.facts[S][1:]]}
    for reading in evidence.record.readings:
        reading.seen = list(evidence.facts[S])
    assert "the stream has no fact of the event at 0:1" in found(evidence)
    evidence.facts = {S: [*evidence.facts[S], Seen(7, "event", "a-1", "0:1", SECOND + 5)]}
    for reading in evidence.record.readings:
        reading.seen = list(evidence.facts[S])
    assert "event 1 behind 2" in found(evidence)
    evidence.facts = {S: [*evidence.facts[S], Seen(8, "event", "a-2", "0:2", SECOND + 5)]}
    for reading in evidence.record.readings:
        reading.seen = list(evidence.facts[S])
    assert verify(evidence).good, found(evidence)


def cut(evidence: Evidence) -> None:
    """A power cut took the last two facts of the session, and the readers had seen them."""
    evidence.allowed = Allowances(facts_may_be_missing=frozenset({"ev.acme.s"}), went_back=(SECOND,))
    evidence.facts = {S: evidence.facts[S][:2]}


def test_given_facts_that_a_power_cut_took_when_readers_had_seen_them_then_that_is_allowed_to_this_session() -> None:
    evidence = right()
    cut(evidence)
    assert verify(evidence).good, found(evidence)
    evidence.allowed = Allowances(facts_may_be_missing=frozenset({"ev.acme.other"}), went_back=(SECOND,))
    assert words(verify(evidence)) == {"lost"}


def test_given_a_power_cut_when_a_reader_misses_what_is_above_all_that_it_had_seen_then_it_is_lost() -> None:
    evidence = right()
    cut(evidence)
    reused = Seen(3, "result", "a-2", None, actor="counter/a")
    evidence.facts = {S: [*evidence.facts[S], reused]}
    assert verify(evidence).good, "its place was another fact's, and the reader is not told"
    evidence.facts = {S: [*evidence.facts[S], Seen(7, "result", "a-2", None, actor="counter/a")]}
    assert "was never given 7" in found(evidence)


def test_given_a_power_cut_when_a_fact_is_of_what_was_never_committed_then_it_is_lost() -> None:
    evidence = right()
    cut(evidence)
    first(evidence)[-2] = Seen(5, "event", "a-9", "0:99")
    assert "was given a fact of 0:99" in found(evidence)


def test_given_a_power_cut_when_a_reader_that_was_reset_lacks_an_event_then_only_what_was_taken_is_excused() -> None:
    evidence = right()
    reading = evidence.record.readings[0]
    reading.seen = [Seen(-1, "reset", "", None), evidence.facts[S][0]._replace(sequence=0)]
    assert words(verify(evidence)) == {"lost"}
    evidence.facts = {S: evidence.facts[S][:2]}
    evidence.record.readings = [reading]
    evidence.allowed = Allowances(facts_may_be_missing=frozenset({"ev.acme.s"}), went_back=(SECOND,))
    assert verify(evidence).good, found(evidence)
    reading.seen = [Seen(-1, "reset", "", None)]
    assert "has no fact of the event at 0:1" in found(evidence)


def test_given_a_power_cut_when_a_reader_of_another_session_had_come_so_far_then_what_is_given_again_may_be_missing(
) -> None:
    evidence = right()
    reading = evidence.record.readings[0]
    reading.seen, reading.ended = list(evidence.facts[S][:2]), False
    evidence.allowed = Allowances(given_again=((5, 6),), went_back=(SECOND,))
    assert verify(evidence).good, found(evidence)
    evidence.allowed = Allowances(given_again=((5, 5),), went_back=(SECOND,))
    assert words(verify(evidence)) == {"lost"}
    assert "was never given 6" in found(evidence)

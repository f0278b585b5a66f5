"""Schedules in a World: what is due is started once, by policy, whatever time does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from actors.schedules import schedule
from runtime import KeyValue, Rejected, RetryPolicy, Turn, World, function, keyvalue
from runtime.clock import ManualClock
from schemas.control import Ended
from schemas.schedules import Description, Spec

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0


@function
def job(ctx: Turn, label: str = "", due: str = "") -> str:
    """Ends at once."""
    return f"{label}{due}"


lasting = keyvalue("lasting", retry=RetryPolicy(max_attempts=1), on_parked="pause")
"""What is paused lasts until it is resumed: so a run of a schedule goes on while time passes."""


@lasting.write
def work(ctx: KeyValue) -> None:
    ctx.set("done", [*ctx.get("done", []), ctx.turn.command_id])


@lasting.write
def stop(ctx: KeyValue) -> None:
    raise ValueError("this pauses it")


@lasting.write
def refuse(ctx: KeyValue) -> None:
    raise Rejected("not today")


def world() -> World:
    return World(schedule, job, lasting, clock=ManualClock(NOON))


def create(one: World, spec: Spec, name: str = "s", **more: Any) -> None:
    one.ask(schedule, name, "create", {"spec": spec, **more})


def described(one: World, name: str = "s") -> Description:
    found: Description = one.query(schedule, name, "describe", type=Description)
    return found


def hold(one: World) -> None:
    """Lets whatever comes to the actor `l` wait until it is resumed."""
    one.tell(lasting, "l", "stop")


def started(one: World, name: str = "s") -> list[str]:
    return [event.firing.run for event in one.events(schedule, name) if type(event).__name__ == "Fired"]


def test_given_an_interval_when_time_passes_then_each_due_time_is_started_once_under_its_own_id() -> None:
    one = world()
    create(one, Spec("job", args={"label": "x", "due": "{due}"}, every_s=MINUTE_S))
    one.advance(3 * MINUTE_S)
    assert started(one) == ["s@2026-11-21T12:01:00Z", "s@2026-11-21T12:02:00Z", "s@2026-11-21T12:03:00Z"]
    shown = described(one)
    assert (shown.fired, shown.running, [firing.outcome for firing in shown.recent]) == (3, [], ["done"] * 3)
    assert shown.next[:2] == [NOON + 4 * MINUTE_S, NOON + 5 * MINUTE_S]
    key, args = "s@2026-11-21T12:01:00Z", {"label": "x", "due": "2026-11-21T12:01:00Z"}
    assert one.ask(job, key, "run", args, id=key) == "x2026-11-21T12:01:00Z"
    one.replay()


def test_given_a_cron_expression_with_a_zone_when_the_clocks_change_then_it_stays_at_its_time_of_day() -> None:
    one = World(schedule, job, clock=ManualClock(datetime(2026, 3, 28, tzinfo=UTC).timestamp()))
    create(one, Spec("job", cron="0 9 * * *", timezone="Europe/Berlin"))
    one.advance(2 * DAY_S)
    assert started(one) == ["s@2026-03-28T08:00:00Z", "s@2026-03-29T07:00:00Z"]


def test_given_a_run_that_goes_on_when_the_next_is_due_then_it_is_passed_over() -> None:
    one = world()
    hold(one)
    create(one, Spec("lasting", "work", "l", every_s=MINUTE_S))
    one.advance(3 * MINUTE_S)
    shown = described(one)
    assert (shown.fired, shown.skipped, [firing.due for firing in shown.running]) == (1, 2, [NOON + MINUTE_S])
    one.resume(lasting, "l")
    one.advance(MINUTE_S)
    assert one.state(lasting, "l")["done"] == ["s@2026-11-21T12:01:00Z", "s@2026-11-21T12:04:00Z"]
    one.replay()


def test_given_the_policy_buffer_when_several_are_due_meanwhile_then_the_first_starts_at_the_end() -> None:
    one = world()
    hold(one)
    create(one, Spec("lasting", "work", "l", every_s=MINUTE_S, overlap="buffer"))
    one.advance(3.5 * MINUTE_S)
    assert (described(one).buffered, described(one).skipped) == (NOON + 2 * MINUTE_S, 1)
    one.resume(lasting, "l")
    assert one.state(lasting, "l")["done"] == ["s@2026-11-21T12:01:00Z", "s@2026-11-21T12:02:00Z"]
    assert described(one).buffered is None


def test_given_the_policy_allow_when_the_next_is_due_then_it_starts_beside_the_one_that_goes_on() -> None:
    one = world()
    hold(one)
    create(one, Spec("lasting", "work", "l", every_s=MINUTE_S, overlap="allow"))
    one.advance(3 * MINUTE_S)
    assert (described(one).fired, len(one.waiting)) == (3, 3)


def test_given_the_policy_cancel_when_the_next_is_due_then_the_one_that_goes_on_is_told_and_the_last_starts() -> None:
    one = world()
    hold(one)
    create(one, Spec("lasting", "work", "l", every_s=MINUTE_S, overlap="cancel"))
    one.advance(3.5 * MINUTE_S)
    assert (described(one).buffered, described(one).skipped) == (NOON + 3 * MINUTE_S, 1)
    one.resume(lasting, "l")
    assert one.state(lasting, "l")["done"] == ["s@2026-11-21T12:01:00Z", "s@2026-11-21T12:03:00Z"]


def test_given_a_schedule_that_nobody_served_for_a_while_then_only_what_is_not_too_old_is_started() -> None:
    one = world()
    create(one, Spec("job", every_s=HOUR_S, catch_up_s=2.5 * HOUR_S, overlap="allow"))
    one.clock.advance(10.25 * HOUR_S)  # its timer fires late
    one.advance(0)
    assert started(one) == ["s@2026-11-21T20:00:00Z", "s@2026-11-21T21:00:00Z", "s@2026-11-21T22:00:00Z"]
    assert described(one).next[0] == NOON + 11 * HOUR_S


def test_given_more_due_times_than_one_turn_takes_then_all_are_started() -> None:
    one = world()
    create(one, Spec("job", every_s=1.0, catch_up_s=HOUR_S, overlap="allow"))
    one.clock.advance(170)
    one.advance(0)
    assert (described(one).fired, len(set(started(one)))) == (170, 170)


def test_given_jitter_when_due_then_each_firing_is_later_by_as_much_as_it_said_and_never_behind_the_next() -> None:
    one = world()
    create(one, Spec("job", every_s=MINUTE_S, jitter_s=HOUR_S))
    foretold = described(one).next
    one.advance(10 * MINUTE_S)
    fired = [firing.at for firing in described(one).recent]
    assert fired[:5] == pytest.approx(foretold)
    assert all(0 <= at - (NOON + n * MINUTE_S) < MINUTE_S for n, at in enumerate(fired, 1))
    assert len({round(at % MINUTE_S, 3) for at in fired}) > 5


def test_given_a_paused_schedule_when_time_passes_then_nothing_is_made_up_for() -> None:
    one = world()
    create(one, Spec("job", every_s=MINUTE_S))
    one.ask(schedule, "s", "pause", {"note": "holidays"})
    one.advance(10.5 * MINUTE_S)
    assert (described(one).paused, described(one).note, described(one).next, started(one)) == (True, "holidays", [], [])
    assert one.ask(schedule, "s", "trigger") == started(one)[0]
    one.ask(schedule, "s", "resume")
    one.advance(MINUTE_S)
    assert started(one)[1:] == ["s@2026-11-21T12:11:00Z"]
    one.replay()


def test_given_start_and_end_when_time_passes_then_it_is_due_between_them_only() -> None:
    one = world()
    start = NOON + HOUR_S
    create(one, Spec("job", cron="*/30 * * * *", start_at=start, end_at=start + HOUR_S))
    one.advance(DAY_S)
    assert started(one) == ["s@2026-11-21T13:00:00Z", "s@2026-11-21T13:30:00Z", "s@2026-11-21T14:00:00Z"]
    assert described(one).next == []


@pytest.mark.parametrize("overlap", ["wait", "allow"])
def test_given_a_range_of_the_past_when_backfilled_then_each_due_time_in_it_is_started_once(overlap: str) -> None:
    one = world()
    create(one, Spec("job", cron="0 * * * *"))
    asked = {"start": NOON - 60 * HOUR_S, "end": NOON, "overlap": overlap}
    for _ in range(2):  # the second is a repeat
        one.ask(schedule, "s", "backfill", asked, id="b")
    dues = [firing.due for event in one.events(schedule, "s") if (firing := getattr(event, "firing", None))]
    assert dues == [NOON - n * HOUR_S for n in range(60, -1, -1)]
    assert (len(set(started(one))), described(one).backfills) == (61, [])
    one.advance(HOUR_S)
    assert started(one)[-1] == "s@2026-11-21T13:00:00Z"
    one.replay()


def test_given_a_backfill_that_waits_when_a_run_ends_then_the_next_begins() -> None:
    one = world()
    hold(one)
    create(one, Spec("lasting", "work", "l", cron="0 0 * * *"))
    one.ask(schedule, "s", "backfill", {"start": NOON - 2 * DAY_S, "end": NOON})
    assert len(started(one)) == 1
    one.resume(lasting, "l")
    assert len(one.state(lasting, "l")["done"]) == 2


def test_given_a_run_that_fails_when_it_has_ended_then_it_counts_and_the_schedule_goes_on() -> None:
    one = world()
    create(one, Spec("lasting", "refuse", "l", every_s=MINUTE_S))
    one.advance(2 * MINUTE_S)
    shown = described(one)
    assert (shown.fired, shown.failed, shown.recent[0].outcome) == (2, 2, "rejected")


def test_given_a_schedule_when_made_again_then_it_is_the_same_or_refused_or_replaced() -> None:
    one = world()
    create(one, Spec("job", every_s=MINUTE_S))
    one.advance(MINUTE_S)
    create(one, Spec("job", every_s=MINUTE_S))
    with pytest.raises(Rejected, match="already"):
        create(one, Spec("job", every_s=2 * MINUTE_S))
    create(one, Spec("job", every_s=HOUR_S), replace=True)
    one.advance(HOUR_S)
    assert started(one) == ["s@2026-11-21T12:01:00Z", "s@2026-11-21T13:01:00Z"]
    one.ask(schedule, "s", "delete")
    one.advance(DAY_S)
    assert one.query(schedule, "s", "describe") is None
    assert len(started(one)) == 2
    with pytest.raises(Rejected, match="no schedule 's'"):
        one.ask(schedule, "s", "pause")
    create(one, Spec("job", every_s=HOUR_S))
    one.replay()


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (Spec("job"), "give cron or every_s"),
        (Spec("job", cron="0 0 * * *", every_s=3.0), "give cron or every_s"),
        (Spec("job", cron="0 0 * *"), "no cron expression"),
        (Spec("job", cron="0 0 * * *", timezone="Mars/Olympus"), "no time zone"),
        (Spec("job", every_s=0.1), "every_s"),
        (Spec("job", every_s=9.0, jitter_s=-1), "jitter_s"),
        (Spec("job", every_s=9.0, catch_up_s=0), "catch_up_s"),
        (Spec("job", every_s=9.0, start_at=-1.0), "start_at"),
        (Spec("a.b", every_s=9.0), "kind"),
        (Spec("job", every_s=9.0, key="{schedule}" * 201), "the key is"),
        (Spec("job", every_s=9.0, args="x" * 300_000), "bytes as JSON"),
    ],
)
def test_given_a_specification_that_cannot_work_when_made_then_it_is_refused_with_the_reason(
    spec: Spec, problem: str
) -> None:
    with pytest.raises(Rejected, match=problem):
        create(world(), spec)


def test_given_somebody_else_who_says_that_it_is_due_when_it_is_not_then_nothing_happens() -> None:
    one = world()
    create(one, Spec("job", every_s=MINUTE_S))
    one.ask(schedule, "s", "fire")
    one.ask(schedule, "s", "go_on")
    one.ask(schedule, "s", "ended", Ended("nobody's", "job", "k", "run"))
    assert started(one) == []
    one.advance(MINUTE_S)
    assert len(started(one)) == 1


@pytest.mark.parametrize("how", ["changed", "resumed"])
def test_given_what_waits_for_its_jitter_when_the_schedule_is_touched_then_it_is_fired_once(how: str) -> None:
    one = world()
    spec = Spec("job", cron="0 13 * * *", jitter_s=HOUR_S)
    create(one, spec)
    fires = described(one).next[0]
    assert fires > NOON + HOUR_S + 1
    one.advance(HOUR_S + 1)  # it is due, and waits
    touch(one, spec, how)
    assert described(one).next[0] == fires
    one.advance(fires - one.clock.now())
    assert started(one) == ["s@2026-11-21T13:00:00Z"]
    touch(one, spec, how)  # it was fired: the next one is tomorrow's
    one.advance(HOUR_S)
    assert started(one) == ["s@2026-11-21T13:00:00Z"]


def touch(one: World, spec: Spec, how: str) -> None:
    if how == "changed":
        create(one, replace(spec, args={"label": str(one.clock.now())}), replace=True)
    else:
        one.ask(schedule, "s", "pause")
        one.ask(schedule, "s", "resume")


def test_given_more_jitter_than_is_caught_up_with_when_time_passes_then_nothing_is_passed_over() -> None:
    one = world()
    create(one, Spec("job", cron="0 3 * * *", jitter_s=20 * HOUR_S, catch_up_s=MINUTE_S))
    one.advance(10 * DAY_S + 12 * HOUR_S)
    assert len(started(one)) == 10
    assert not [event for event in one.events(schedule, "s") if type(event).__name__ == "Passed"]

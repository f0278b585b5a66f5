"""Calendars: cron expressions in time zones, also where clocks are put forward or back, and intervals."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import cron

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")
EXPRESSIONS = ("30 2 * * *", "*/30 * * * *", "0 0 * * *", "15 1,2,3 * * *", "0 9 * * 1-5", "*/7 2 * * *", "5 4 1 * *")


def times(expression: str, timezone: str, start: str, count: int) -> list[str]:
    """The next due times, as the clock on the wall shows them."""
    zone = cron.zone(timezone)
    at = datetime.fromisoformat(start).replace(tzinfo=zone).timestamp()
    found: list[str] = []
    for _ in range(count):
        due = cron.after(cron.check_cron(expression, timezone), timezone, at)
        assert due is not None
        at = due
        found.append(datetime.fromtimestamp(at, zone).strftime("%d %H:%M%z"))
    return found


def test_given_a_fixed_time_in_the_hour_that_is_left_out_when_due_then_it_is_due_once_right_after_it() -> None:
    found = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2)
    assert found == ["29 03:00+0200", "30 02:30+0200"]


def test_given_a_fixed_time_in_the_hour_that_comes_twice_when_due_then_it_is_due_once() -> None:
    found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2)
    assert found == ["25 02:30+0200", "26 02:30+0100"]
    # Asked in the second of the two hours, cronsim names the first one again.
    second = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=cron.zone("Europe/Berlin")).timestamp()
    due = cron.after("30 2 * * *", "Europe/Berlin", second)
    assert due is not None
    assert datetime.fromtimestamp(due, UTC).isoformat() == "2026-10-26T01:30:00+00:00"


def test_given_every_half_an_hour_when_an_hour_comes_twice_then_it_is_due_in_both() -> None:
    found = times("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 4)
    assert found == ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100"]


def test_given_a_midnight_that_does_not_exist_when_due_then_it_is_due_right_after_it() -> None:
    assert times("@daily", "America/Sao_Paulo", "2018-11-03T12:00", 2) == ["04 01:00-0200", "05 00:00-0200"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), st.integers(1_262_304_000, 1_900_000_000))
def test_given_any_time_when_asked_what_is_next_then_nothing_lies_between_and_time_goes_on(
    expression: str, timezone: str, at: int
) -> None:
    due = cron.after(expression, timezone, at)
    assert due is not None
    assert at < due
    # Whoever asks later, before it is due, is told the same.
    assert cron.after(expression, timezone, (at + due) // 2) == due
    assert cron.after(expression, timezone, due - 0.5) == due


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("* * * *", "write minute, hour"),
        ("0 0 * * * *", "write minute, hour"),
        ("61 * * * *", "Bad minute"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("0 0 * * MON#9", "Bad day-of-week"),
        ("@never", "write minute, hour"),
        ("* " * 101, "at most 200"),
    ],
)
def test_given_what_is_no_expression_when_checked_then_it_is_told_why(expression: str, problem: str) -> None:
    with pytest.raises(cron.BadCalendar, match=problem):
        cron.check_cron(expression)


@pytest.mark.parametrize("name", ["Europe/Nowhere", "", "../etc/passwd", "/etc/localtime"])
def test_given_what_is_no_time_zone_when_asked_for_then_it_is_told(name: str) -> None:
    with pytest.raises(cron.BadCalendar, match="no time zone"):
        cron.zone(name)


@given(st.floats(1, 1e6), st.floats(0, 2e9), st.floats(0, 2e9))
def test_given_any_interval_when_asked_what_is_next_then_it_lies_ahead_by_at_most_the_interval(
    every_s: float, anchor: float, at: float
) -> None:
    due = cron.after_interval(every_s, anchor, at)
    assert at < due <= at + every_s * (1 + 1e-6) + 1e-6

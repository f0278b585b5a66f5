"""When something that recurs is due next: by a cron expression in a time zone, or by an interval.

cronsim does what Debian's cron does, also where clocks are put forward or back: what runs at a fixed time runs once a
day, right after the gap if its time falls into one; what runs "every so many minutes or hours" follows the clock on the
wall. Its answers may lie before what was asked for where an hour occurs twice, so each is compared.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

MAX_LENGTH = 200
SHORTEST_S = 1.0
LAST = 253_370_764_800.0
"""The year 9999 in Unix seconds: nothing is due from then on."""

_BEHIND = 200
"""Answers that may lie before what was asked for, in a doubled hour of a job that runs each second at most."""


class BadCalendar(ValueError):
    """This says no times at which something could be due; the message says why."""


def zone(name: str) -> tzinfo:
    """The time zone of that IANA name. Raises BadCalendar."""
    if name == "UTC":
        return UTC  # cronsim is faster by it
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise BadCalendar(f"{name[:80]!r} is no time zone: name one as 'Europe/Berlin' or 'UTC'") from error


@lru_cache(maxsize=4096)
def check_cron(expression: str, timezone: str = "UTC") -> str:
    """The expression as cronsim reads it, with macros such as `@daily` replaced. Raises BadCalendar."""
    text = MACROS.get(expression.strip().lower(), expression.strip())
    if len(text) > MAX_LENGTH:
        raise BadCalendar(f"a cron expression has at most {MAX_LENGTH} characters")
    if len(text.split()) != 5:
        raise BadCalendar(
            f"{text[:80]!r} is no cron expression: write minute, hour, day of month, month and day of week, or one of "
            f"{', '.join(MACROS)}"
        )
    try:
        CronSim(text, datetime.fromtimestamp(0, zone(timezone)))
    except CronSimError as error:
        raise BadCalendar(f"cron expression {text[:80]!r}: {error}") from error
    if after(text, timezone, 0.0) is None:
        raise BadCalendar(f"cron expression {text[:80]!r} is never due")
    return text


def after(expression: str, timezone: str, at: float) -> float | None:
    """The first time behind `at` at which a checked cron expression is due, or None; both in Unix seconds."""
    found = CronSim(expression, datetime.fromtimestamp(at, zone(timezone)))
    for _ in range(_BEHIND):
        try:
            due = next(found).timestamp()
        except (StopIteration, OverflowError):
            return None
        if due > at:
            return due
    raise BadCalendar(f"cron expression {expression!r} in {timezone} gives no time behind {at}")


def after_interval(every_s: float, anchor: float, at: float) -> float:
    """The first time behind `at` that lies a multiple of `every_s` seconds from `anchor`."""
    due = anchor + (math.floor((at - anchor) / every_s) + 1) * every_s
    return due if due > at else due + every_s  # the division was rounded down

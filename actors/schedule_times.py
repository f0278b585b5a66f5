"""A schedule's calendar: what may be one, when it is due, and how its runs are called."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from runtime import Rejected, cron
from runtime.arguments import encode_json
from schemas.address import BadAddress, check_name, encode_token
from schemas.schedules import Spec

MAX_ARGS_BYTES = 262_144
LONGEST_TOKEN = 120
"""Bytes of a schedule's name once encoded: a run's id has at most 200 characters."""

SHORTEST_CATCH_UP_S = 10.0
BEFORE_S = 0.001
"""What is due at a time is asked for so much earlier."""

LONGEST_S = 3_660 * 86_400.0


def checked(name: str, spec: Spec, now: float) -> Spec:
    """The specification as it is kept: the expression without macros, an interval with its anchor. Raises Rejected."""
    if len(encode_token(name)) > LONGEST_TOKEN:
        raise Rejected(f"the schedule's name is longer than {LONGEST_TOKEN} bytes once encoded: shorten it")
    if (spec.cron is None) == (spec.every_s is None):
        raise Rejected("a schedule is due either by cron or every so many seconds: give cron or every_s")
    if spec.every_s is not None and not cron.SHORTEST_S <= spec.every_s <= LONGEST_S:
        raise Rejected(f"every_s is between {cron.SHORTEST_S:g} and {LONGEST_S:g} seconds")
    if not 0 <= spec.jitter_s <= 86_400 or not SHORTEST_CATCH_UP_S <= spec.catch_up_s <= LONGEST_S:
        raise Rejected(f"jitter_s is 0 to 86400 seconds, catch_up_s {SHORTEST_CATCH_UP_S:g} to {LONGEST_S:g}")
    for time in (spec.anchor, spec.start_at, spec.end_at):
        if time is not None and not 0 <= time < cron.LAST:
            raise Rejected("start_at, end_at and anchor are Unix seconds between the years 1970 and 9999")
    try:
        check_name(spec.kind, "kind")
        check_name(spec.method, "method")
        sample = run_id(name, 1.001, "x")
        encode_token(run_key(spec, name, 1.001, sample))
        cron.zone(spec.timezone)
        if spec.cron is not None:
            return _sized(replace(spec, cron=cron.check_cron(spec.cron, spec.timezone)))
    except (cron.BadCalendar, BadAddress) as error:
        raise Rejected(str(error)) from error
    begin = now if spec.start_at is None else spec.start_at
    return _sized(replace(spec, anchor=begin if spec.anchor is None else spec.anchor))


def _sized(spec: Spec) -> Spec:
    if len(encode_json(spec.args)) > MAX_ARGS_BYTES:
        raise Rejected(f"args has more than {MAX_ARGS_BYTES} bytes as JSON: keep the value elsewhere, and say where")
    return spec


def next_due(spec: Spec, at: float, *, bounded: bool = True) -> float | None:
    """The first due time behind `at` (Unix seconds), before jitter; not `bounded`, also outside start_at and end_at."""
    if bounded and spec.start_at is not None:
        at = max(at, spec.start_at - BEFORE_S)
    if spec.cron is not None:
        due = cron.after(spec.cron, spec.timezone, at)
    else:
        assert spec.every_s is not None
        due = cron.after_interval(spec.every_s, spec.anchor or 0.0, at)
    if due is None or due >= cron.LAST or (bounded and spec.end_at is not None and due > spec.end_at):
        return None
    return due


def fires_at(name: str, spec: Spec, due: float) -> float:
    """When a due time's run is started: with its jitter, which is always the same, and before the next due time."""
    if not spec.jitter_s:
        return due
    following = next_due(spec, due)
    most = spec.jitter_s if following is None else min(spec.jitter_s, following - due)
    return due + random.Random(f"{name}/{due}").random() * most


def first_due(name: str, spec: Spec, due: float, oldest: float) -> float | None:
    """The first due time behind `due` that with its jitter fires at `oldest` or later."""
    jitter_s = spec.jitter_s if spec.every_s is None else min(spec.jitter_s, spec.every_s)
    found = next_due(spec, max(due, oldest - jitter_s - BEFORE_S))
    while found is not None and fires_at(name, spec, found) < oldest:
        found = next_due(spec, found)
    return found


def still_due(spec: Spec, due: float | None, now: float) -> float | None:
    """What is next for a schedule that is changed now: what is due already and waits for its jitter, if it stays so."""
    if due is not None and due <= now and next_due(spec, due - BEFORE_S) == due:
        return due
    return next_due(spec, now)


def rfc3339(at: float) -> str:
    """A time in UTC, with milliseconds where it has some."""
    text = datetime.fromtimestamp(round(at, 3), UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"


def run_id(name: str, due: float, salt: str = "") -> str:
    """The id of a run's command: the same for the same schedule and due time. `salt` tells triggers and backfills."""
    own = f"+{blake2b(salt.encode(), digest_size=4).hexdigest()}" if salt else ""
    return f"{encode_token(name)}@{rfc3339(due)}{own}"


def run_key(spec: Spec, name: str, due: float, run: str) -> str:
    """The key of the actor that a run is of."""
    return spec.key.replace("{run}", run).replace("{due}", rfc3339(due)).replace("{schedule}", name)


def run_args(spec: Spec, due: float) -> Any:
    """The arguments of a run."""
    if not isinstance(spec.args, dict):
        return spec.args
    return {name: rfc3339(due) if value == "{due}" else value for name, value in spec.args.items()}

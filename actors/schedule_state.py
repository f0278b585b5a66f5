"""What a schedule is: the events of its log and their fold. Events are small, since a schedule may live for years."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.schedules import Backfill, Firing, Spec

RECENT = 10
"""The last firings that a description shows."""

How = Literal["due", "buffered", "trigger", "backfill"]


class Created(Struct, frozen=True):
    """The schedule was made; `next_due`, here and below, is the due time that comes next, before jitter, if any."""

    spec: Spec
    at: float
    next_due: float | None


class Changed(Created, frozen=True):
    """It does something else, or at other times, from now on."""


class Paused(Struct, frozen=True):
    """It fires no more until it is resumed."""

    note: str


class Resumed(Struct, frozen=True):
    """It fires again."""

    note: str
    next_due: float | None


class Fired(Struct, frozen=True):
    """A run was started for `due`; `tracked` ones are waited for."""

    due: float
    firing: Firing
    how: How
    tracked: bool
    next_due: float | None


class Skipped(Struct, frozen=True):
    """No run was started for `due`: one `runs`, one is `buffered`, it was `replaced` there, or all is `paused`."""

    due: float
    why: Literal["runs", "buffered", "replaced", "paused"]
    next_due: float | None


class Buffered(Struct, frozen=True):
    """A run for `due` starts when the one that runs has ended."""

    due: float
    next_due: float | None


class Passed(Struct, frozen=True):
    """Due times from `since` to before `next_due` were too old to be caught up with."""

    since: float
    next_due: float | None


class RunEnded(Struct, frozen=True):
    """A run has ended: `done`, or an error's code."""

    run: str
    outcome: str


class BackfillAsked(Struct, frozen=True):
    """Runs for past due times are to be started."""

    backfill: Backfill


class BackfillEnded(Struct, frozen=True):
    """All of them were."""

    id: str


class Deleted(Struct, frozen=True):
    """The schedule is no more."""


Event = (
    Created
    | Changed
    | Paused
    | Resumed
    | Fired
    | Skipped
    | Buffered
    | Passed
    | RunEnded
    | BackfillAsked
    | BackfillEnded
    | Deleted
)


class Schedule(Struct, frozen=True, omit_defaults=True):
    """A schedule. `running_kind` is the kind of what runs, which may be another than the specification's by now."""

    spec: Spec | None = None
    created_at: float = 0.0
    paused: bool = False
    note: str = ""
    next_due: float | None = None
    running: tuple[Firing, ...] = ()
    running_kind: str = ""
    buffered: float | None = None
    backfills: tuple[Backfill, ...] = ()
    recent: tuple[Firing, ...] = ()
    fired: int = 0
    skipped: int = 0
    failed: int = 0


def apply(state: Schedule, event: Event) -> Schedule:
    """Pure: the same events always fold to the same schedule."""
    match event:
        case Changed():
            state = replace(state, spec=event.spec, created_at=event.at, next_due=event.next_due, buffered=None)
        case Created():
            state = Schedule(event.spec, event.at, next_due=event.next_due)
        case Paused():
            state = replace(state, paused=True, note=event.note, next_due=None)
        case Resumed():
            state = replace(state, paused=False, note=event.note, next_due=event.next_due)
        case Fired():
            state = _fired(state, event)
        case Skipped():
            buffered = None if event.why in ("replaced", "paused") else state.buffered
            state = replace(state, skipped=state.skipped + 1, next_due=event.next_due, buffered=buffered)
        case Buffered():
            state = replace(state, buffered=event.due, next_due=event.next_due)
        case Passed():
            state = replace(state, next_due=event.next_due)
        case RunEnded():
            state = _ended(state, event)
        case BackfillAsked():
            state = replace(state, backfills=(*state.backfills, event.backfill))
        case BackfillEnded():
            state = replace(state, backfills=tuple(one for one in state.backfills if one.id != event.id))
        case Deleted():
            state = Schedule()
    return state


def _fired(state: Schedule, event: Fired) -> Schedule:
    kind = "" if state.spec is None else state.spec.kind
    state = replace(
        state,
        fired=state.fired + 1,
        next_due=event.next_due,
        recent=(*state.recent, event.firing)[-RECENT:],
    )
    if event.tracked:
        state = replace(state, running=(*state.running, event.firing), running_kind=kind)
    if event.how == "buffered":
        state = replace(state, buffered=None)
    if event.how == "backfill":
        moved = replace(state.backfills[0], at=event.due)
        state = replace(state, backfills=(moved, *state.backfills[1:]))
    return state


def _ended(state: Schedule, event: RunEnded) -> Schedule:
    return replace(
        state,
        running=tuple(one for one in state.running if one.run != event.run),
        recent=tuple(replace(one, outcome=event.outcome) if one.run == event.run else one for one in state.recent),
        failed=state.failed + (event.outcome != "done"),
    )

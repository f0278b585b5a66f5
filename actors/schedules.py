"""Schedules: each is an actor that sets itself a timer, starts what is due, and sets the next one.

    runtime schedules up                                    # or: runtime actors up bank actors.schedules
    runtime schedules create nightly report --cron "0 3 * * *" --timezone Europe/Berlin

The key is the schedule's name. What it starts is a command whose id follows from the schedule and the due time, so
that each firing counts once whatever dies; it hears of its end by `Troupe-Then`, unless runs may overlap anyway. Its
timer is a row of the log, so hundreds of schedules spread over pods as all actors do (docs/adr/0021).

When something is due is computed by decisions alone and kept in events: the fold needs neither clock nor calendar.
"""

from __future__ import annotations

from typing import Literal

from actors.schedule_state import (
    BackfillAsked,
    BackfillEnded,
    Buffered,
    Changed,
    Created,
    Deleted,
    Event,
    Fired,
    How,
    Passed,
    Paused,
    Resumed,
    RunEnded,
    Schedule,
    Skipped,
    apply,
)
from actors.schedule_times import (
    BEFORE_S,
    checked,
    fires_at,
    first_due,
    next_due,
    run_args,
    run_id,
    run_key,
    still_due,
)
from runtime import Rejected, Retention, RetryPolicy, Turn, entity
from schemas.control import Ended
from schemas.schedules import KIND, Backfill, Description, Firing, Overlap, Spec

DAY_S = 86_400.0
AT_ONCE = 50
"""Due times that one turn handles; more are left to the next."""

MOST_BACKFILLS = 10
SHOWN_TIMES = 5

schedule = entity(
    KIND,
    initial=Schedule(),
    apply=apply,
    retry=RetryPolicy(max_attempts=5),
    snapshot_every=100,
    retention=Retention(keep_events=1000, keep_for_s=90 * DAY_S, archive=False),
    version="1",
)


@schedule.command
def create(state: Schedule, ctx: Turn, spec: Spec, replace: bool = False) -> Event | None:
    """Makes the schedule. One that exists with another specification is refused, or changed with `replace`."""
    wanted = checked(ctx.key, spec, ctx.now)
    if state.spec is not None:
        if checked(ctx.key, spec, state.created_at) == state.spec:
            return None
        if not replace:
            raise Rejected(f"there is a schedule {ctx.key!r} already: change it with replace, or delete it first")
    due = None if state.paused else still_due(wanted, state.next_due, ctx.now)
    _arm(ctx, wanted, due)
    return Created(wanted, ctx.now, due) if state.spec is None else Changed(wanted, ctx.now, due)


@schedule.command
def pause(state: Schedule, ctx: Turn, note: str = "") -> Paused | None:
    """Stops the firing until `resume`; what runs goes on. What is due meanwhile is not made up for."""
    _spec(state, ctx)
    if state.paused and state.note == note:
        return None
    ctx.cancel("due")
    return Paused(note)


@schedule.command
def resume(state: Schedule, ctx: Turn, note: str = "") -> Resumed | None:
    """Goes on with what is fired next, also if it is due already and waits for its jitter, and with backfills."""
    spec = _spec(state, ctx)
    if not state.paused:
        return None
    due = first_due(ctx.key, spec, state.created_at, ctx.now + BEFORE_S)
    _arm(ctx, spec, due)
    if state.backfills:
        ctx.schedule("backfill", "go_on", after_s=0)
    return Resumed(note, due)


@schedule.command
def delete(state: Schedule, ctx: Turn) -> Deleted | None:
    """Ends the schedule; what runs goes on. Its log stays, and its name is free."""
    if state.spec is None:
        return None
    ctx.cancel("due")
    ctx.cancel("backfill")
    return Deleted()


@schedule.command
def trigger(state: Schedule, ctx: Turn, overlap: Overlap = "allow") -> list[Event]:
    """Starts a run now, also of a paused schedule; the result is the run's id, or None if none was started."""
    _spec(state, ctx)
    events = _start(state, ctx, ctx.now, "trigger", overlap, state.next_due, salt=ctx.command_id)
    last = events[-1]
    ctx.reply(last.firing.run if isinstance(last, Fired) else None)
    return events


@schedule.command
def backfill(
    state: Schedule, ctx: Turn, start: float, end: float, overlap: Literal["wait", "allow"] = "wait"
) -> BackfillAsked:
    """Starts a run for each due time from `start` to `end`, which lie in the past: one after the other, or at once."""
    _spec(state, ctx)
    if not 0 <= start <= end <= ctx.now:
        raise Rejected("a backfill is of the past: give start and end in Unix seconds, start first")
    if len(state.backfills) >= MOST_BACKFILLS:
        raise Rejected(f"{MOST_BACKFILLS} backfills of {ctx.key!r} are under way: wait until one has ended")
    ctx.schedule("backfill", "go_on", after_s=0)
    return BackfillAsked(Backfill(ctx.command_id, start - BEFORE_S, end, overlap))


@schedule.query
def describe(state: Schedule, ctx: Turn) -> Description | None:
    """All there is to know of the schedule; None when there is none."""
    if state.spec is None:
        return None
    times: list[float] = []
    due = state.next_due
    while due is not None and len(times) < SHOWN_TIMES:
        times.append(fires_at(ctx.key, state.spec, due))
        due = next_due(state.spec, due)
    return Description(
        ctx.key,
        state.spec,
        state.paused,
        state.note,
        times,
        list(state.running),
        list(state.recent),
        state.fired,
        state.skipped,
        state.failed,
        state.buffered,
        list(state.backfills),
    )


# -- what the schedule says to itself ----------------------------------------------------------------------------------


@schedule.command
def fire(state: Schedule, ctx: Turn) -> list[Event]:
    """A due time has come: its timer's command. Asked for by anybody else, it does what is due and no more."""
    spec, due = state.spec, state.next_due
    events: list[Event] = []
    if spec is None or state.paused:
        return events
    while due is not None and fires_at(ctx.key, spec, due) <= ctx.now + BEFORE_S and len(events) < AT_ONCE:
        if fires_at(ctx.key, spec, due) < ctx.now - spec.catch_up_s:
            following = first_due(ctx.key, spec, due, ctx.now - spec.catch_up_s)
            new: list[Event] = [Passed(due, following)]
        else:
            following = next_due(spec, due)
            new = _start(state, ctx, due, "due", spec.overlap, following)
        for event in new:
            state = apply(state, event)
        events += new
        due = following
    _arm(ctx, spec, due)
    return events


@schedule.command
def go_on(state: Schedule, ctx: Turn) -> list[Event]:
    """Goes on with the backfills: the turn of their timer."""
    events: list[Event] = []
    if state.paused:
        return events
    while state.spec is not None and state.backfills and len(events) < AT_ONCE:
        one = state.backfills[0]
        due = next_due(state.spec, one.at, bounded=False)
        if due is None or due > one.until:
            event: Event = BackfillEnded(one.id)
        elif one.overlap == "wait" and state.running:
            return events  # the end of what runs goes on with it
        else:
            event = _run(state, ctx, due, "backfill", state.next_due, one.overlap == "wait", salt=one.id)
        state = apply(state, event)
        events.append(event)
    if state.backfills:
        ctx.schedule("backfill", "go_on", after_s=0)
    return events


@schedule.command
def ended(state: Schedule, outcome: Ended, ctx: Turn) -> list[Event]:
    """A run of the schedule has ended: what waited for that starts."""
    events: list[Event] = []
    if not any(one.run == outcome.id for one in state.running):
        return events
    events.append(RunEnded(outcome.id, "done" if outcome.error is None else outcome.error.code))
    state = apply(state, events[0])
    if state.spec is None or state.running:
        return events
    if state.buffered is not None:
        due = state.buffered
        if state.paused:
            events.append(Skipped(due, "paused", state.next_due))
        else:
            events.append(_run(state, ctx, due, "buffered", state.next_due, tracked=True))
    elif state.backfills and not state.paused:
        ctx.schedule("backfill", "go_on", after_s=0)
    return events


def _start(
    state: Schedule, ctx: Turn, due: float, how: How, overlap: Overlap, following: float | None, salt: str = ""
) -> list[Event]:
    """Starts a run, or does what the policy says while another one has not ended."""
    if overlap == "allow" or not state.running:
        return [_run(state, ctx, due, how, following, tracked=overlap != "allow", salt=salt)]
    if overlap == "skip":
        return [Skipped(due, "runs", following)]
    if overlap == "buffer":
        return [Skipped(due, "buffered", following) if state.buffered is not None else Buffered(due, following)]
    for one in state.running:
        ctx.cancel_run(state.running_kind, one.key, one.run, f"schedule {ctx.key!r} starts the next run")
    passed: list[Event] = [] if state.buffered is None else [Skipped(state.buffered, "replaced", following)]
    return [*passed, Buffered(due, following)]


def _run(
    state: Schedule, ctx: Turn, due: float, how: How, following: float | None, tracked: bool, salt: str = ""
) -> Fired:
    """Sends the command. `tracked`: the schedule is told of its end."""
    spec = _spec(state, ctx)
    run = run_id(ctx.key, due, salt)
    key = run_key(spec, ctx.key, due, run)
    ctx.tell(spec.kind, key, spec.method, run_args(spec, due), id=run, then="ended" if tracked else None)
    return Fired(due, Firing(due, ctx.now, run, key), how, tracked, following)


def _arm(ctx: Turn, spec: Spec, due: float | None) -> None:
    if due is None:
        ctx.cancel("due")
    else:
        ctx.schedule("due", "fire", at=fires_at(ctx.key, spec, due))


def _spec(state: Schedule, ctx: Turn) -> Spec:
    if state.spec is None:
        raise Rejected(f"there is no schedule {ctx.key!r}: create it, or see `runtime schedules list`")
    return state.spec

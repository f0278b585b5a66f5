"""How many runs of a function go on at a time, and how many begin in a while: permits, handed out by an actor.

    @function(limits=Limits(concurrency=10, per_key=1, rate=100, per_s=1.0))

A function with limits brings an actor along, of the kind `<function>-limit`, one for each tenant, which its own pods
serve. A run asks it before its handler begins, and if there is no permit, waits for a signal from it, suspended after a
while as any. The permit belongs to the run and not to a pod: it stays with it over crashes and retries, and is given
back by the outbox of the very commit that ends the run, however that ends. So none is lost and none is used twice.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct
from msgspec.structs import replace

from runtime.entity import Entity, entity
from runtime.errors import Rejected
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from schemas.address import decode_token, encode_token

SUFFIX = "-limit"
KEY = "all"
"""The limiting actor's key: there is one a tenant."""

PERMIT = "$permit"
"""The signal by which a run that waits hears that it may begin."""

MOST_RATE = 1000
MOST_GONE = 1000
AT_ONCE = 50


class Limits(Struct, frozen=True, omit_defaults=True):
    """What one tenant's runs of a function are held to, over all pods. None for no limit.

    concurrency   so many go on at a time; one that sleeps, or is tried again later, goes on
    per_key       so many of one key do
    rate          at most so many (1000 at most) begin within any `per_s` seconds
    backlog       at most so many wait; one more is rejected
    """

    concurrency: int | None = None
    per_key: int | None = None
    rate: int | None = None
    per_s: float = 1.0
    backlog: int = 10_000

    def __post_init__(self) -> None:
        for value in (self.concurrency, self.per_key, self.rate):
            if value is not None and value < 1:
                raise ValueError("a limit is at least 1, or None")
        if (self.rate or 0) > MOST_RATE or not 0 < self.per_s <= 86_400 or self.backlog < 0:
            raise ValueError(f"rate is at most {MOST_RATE}, per_s more than 0 and at most a day, backlog not negative")
        if self.concurrency is None and self.per_key is None and self.rate is None:
            raise ValueError("give concurrency, per_key or rate")


class Configured(Struct, frozen=True):
    """From here on these limits hold."""

    limits: Limits


class Queued(Struct, frozen=True):
    """A run waits. Those of a higher priority go first."""

    id: str
    priority: int


class Granted(Struct, frozen=True):
    """A run has its permit."""

    id: str
    at: float


class Released(Struct, frozen=True):
    """A run has ended: its permit, or its place, is free."""

    id: str


class Gone(Struct, frozen=True):
    """A run has ended before it asked, as far as is known here: if it still comes it gets nothing."""

    id: str


Event = Configured | Queued | Granted | Released | Gone


class Waiting(Struct, frozen=True, array_like=True):
    """A run that waits."""

    id: str
    priority: int


class Permits(Struct, frozen=True, omit_defaults=True):
    """Who has a permit, since when, who waits in which order, and when the last `rate` runs began."""

    limits: Limits | None = None
    held: dict[str, float] = {}
    waiting: tuple[Waiting, ...] = ()
    began: tuple[float, ...] = ()
    gone: tuple[str, ...] = ()


def apply(state: Permits, event: Event) -> Permits:
    """Pure: the same events always fold to the same permits."""
    match event:
        case Configured():
            state = replace(state, limits=event.limits)
        case Queued():
            at = next((n for n, one in enumerate(state.waiting) if one.priority < event.priority), len(state.waiting))
            waiting = (*state.waiting[:at], Waiting(event.id, event.priority), *state.waiting[at:])
            state = replace(state, waiting=waiting)
        case Granted():
            most = (state.limits and state.limits.rate) or 0
            began = (*state.began, event.at)[-most:] if most else ()
            held = {**state.held, event.id: event.at}
            state = replace(state, held=held, waiting=_without(state.waiting, event.id), began=began)
        case Released():
            held = {id: at for id, at in state.held.items() if id != event.id}
            state = replace(state, held=held, waiting=_without(state.waiting, event.id))
        case Gone():
            state = replace(state, gone=(*state.gone, event.id)[-MOST_GONE:])
    return state


def _without(waiting: tuple[Waiting, ...], id: str) -> tuple[Waiting, ...]:
    return tuple([one for one in waiting if one.id != id]) if any(one.id == id for one in waiting) else waiting


def limiter_of(function: str, limits: Limits) -> Entity[Permits]:
    """The kind of the actors that hold runs of this function to its limits. Raises BadDefinition for a long name.

    The limits are not in what a run asks, which stays the same question when newer code has other ones.
    """
    limiter = entity(
        f"{function}{SUFFIX}", initial=Permits(), apply=apply, retry=RetryPolicy(max_attempts=10), version="1"
    )

    @limiter.command
    def acquire(state: Permits, ctx: Turn, key: str, run: str, priority: int = 0) -> list[Event]:
        """Asks for a run's permit. The result is whether it has it; if not, it hears of it by a signal."""
        id = _id_of(key, run)
        state, events = _configured(state, limits)
        ctx.reply(True)
        if id in state.held or id in state.gone:
            return events
        if all(one.id != id for one in state.waiting):
            if len(state.waiting) >= limits.backlog:
                raise Rejected(f"{len(state.waiting)} runs of {function!r} wait already: its backlog is full")
            events.append(Queued(id, priority))
            state = apply(state, events[-1])
        granted = _grant(state, ctx, function, id)
        ctx.reply(any(event.id == id for event in granted))
        return [*events, *granted]

    @limiter.command
    def release(state: Permits, ctx: Turn, key: str, run: str) -> list[Event]:
        """A run has ended."""
        id = _id_of(key, run)
        if id not in state.held and all(one.id != id for one in state.waiting):
            return [Gone(id)]
        state, events = _configured(state, limits)
        released = Released(id)
        return [*events, released, *_grant(apply(state, released), ctx, function)]

    @limiter.command
    def go_on(state: Permits, ctx: Turn) -> list[Event]:
        """Hands out what is free: the turn of its timer."""
        state, events = _configured(state, limits)
        return [*events, *_grant(state, ctx, function)]

    return limiter


def _configured(state: Permits, limits: Limits) -> tuple[Permits, list[Event]]:
    """The state by these limits, and the event that says so if others held."""
    if limits == state.limits:
        return state, []
    return replace(state, limits=limits), [Configured(limits)]


def _id_of(key: str, run: str) -> str:
    return f"{encode_token(key)}.{run}"


def _grant(state: Permits, ctx: Turn, function: str, asking: str | None = None) -> list[Granted]:
    """Permits for those who wait, and who hear of it by a signal; but for the one who asks, who is answered."""
    limits, granted = state.limits, list[Granted]()
    if limits is None:
        return granted
    in_use = Counter([id.partition(".")[0] for id in state.held])
    going_on, began = len(state.held), list(state.began)
    for one in state.waiting:
        if limits.concurrency is not None and going_on >= limits.concurrency:
            break
        if limits.rate is not None and len(began) >= limits.rate and began[-limits.rate] + limits.per_s > ctx.now:
            ctx.schedule("go_on", "go_on", at=began[-limits.rate] + limits.per_s)
            break
        token, _, run = one.id.partition(".")
        if limits.per_key is not None and in_use[token] >= limits.per_key:
            continue
        if len(granted) >= AT_ONCE:
            ctx.schedule("go_on", "go_on", after_s=0)
            break
        granted.append(Granted(one.id, ctx.now))
        going_on, in_use[token] = going_on + 1, in_use[token] + 1
        began.append(ctx.now)
        if one.id != asking:
            ctx.signal_run(function, decode_token(token), run, PERMIT)
    return granted

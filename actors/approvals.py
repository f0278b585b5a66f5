"""Approvals: each is an actor that a run asks, that a person decides, and that nobody else can decide.

    decision = await ctx.human.approval("refund", {"amount": 900}, required_roles=["manager"], timeout_s=86_400)

    runtime approvals up                      # or: runtime actors up shop actors.approvals
    runtime approvals list
    runtime approvals approve ID --principal ann --role manager

Who decides is known by signature alone (schemas/signature.py), and the actor itself checks the role: over HTTP, NATS
and the command line alike. What only a run or an approval may say (`withdraw`, and the desk's `put` and `remove`) is
believed of exactly that actor, whose pod proves that it sent it. When the time is over it escalates, or expires; it is
never approved by that. The run is only woken by a signal, which anybody may send;
what was decided it asks of this actor.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from runtime import Rejected, Retention, RetryPolicy, Turn, entity
from schemas.approvals import DESK, DESK_KEY, KIND, Description, Outcome, Page, Spec, Summary, signal_name

PENDING = Outcome("pending")
DAY_S = 86_400.0
MAX_NAME_LENGTH = 200
MAX_COMMENT_LENGTH = 10_000
MAX_PAGE = 1000
LONGEST_S = 10 * 365 * DAY_S


class Approval(Struct, frozen=True):
    """The state; `spec` is None before anybody has asked."""

    spec: Spec | None = None
    outcome: Outcome = PENDING
    roles: tuple[str, ...] = ()
    requested_at: float = 0.0
    expires_at: float | None = None
    escalated: bool = False


class Requested(Struct, frozen=True):
    """A run asks."""

    spec: Spec
    at: float


class Escalated(Struct, frozen=True):
    """Nobody has decided in time: these may as well now."""

    roles: tuple[str, ...]
    at: float
    expires_at: float | None


class Ended(Struct, frozen=True):
    """It was decided, has expired, or is not needed any more."""

    outcome: Outcome


Event = Requested | Escalated | Ended


def apply(state: Approval, event: Event) -> Approval:
    """The fold."""
    match event:
        case Requested(spec, at):
            expires_at = None if spec.timeout_s is None else at + spec.timeout_s
            return Approval(spec, PENDING, spec.required_roles, at, expires_at)
        case Escalated(roles, _, expires_at):
            return replace(state, roles=roles, expires_at=expires_at, escalated=True)
        case Ended(outcome):
            return replace(state, outcome=outcome)


approval = entity(
    KIND, initial=Approval(), apply=apply, retry=RetryPolicy(max_attempts=5), version="1",
)  # fmt: skip


@approval.command
def request(state: Approval, ctx: Turn, spec: Spec) -> Event | None:
    """A run asks. The same again does nothing."""
    if state.spec is not None:
        if state.spec == spec:
            return None
        raise Rejected(f"approval {ctx.key} was asked for before, with something else")
    _check(spec)
    event = Requested(spec, ctx.now)
    _show(ctx, apply(state, event))
    return event


@approval.command
def decide(state: Approval, ctx: Turn, approve: bool, comment: str = "") -> Event | None:
    """A person approves or rejects. The result is the outcome."""
    _asked(state, ctx)
    status: Literal["approved", "rejected"] = "approved" if approve else "rejected"
    if state.outcome.status != "pending":
        if (state.outcome.status, state.outcome.by) == (status, ctx.principal):
            ctx.reply(state.outcome)
            return None
        raise Rejected(f"approval {ctx.key} is {state.outcome.status} already", {"status": state.outcome.status})
    if state.expires_at is not None and state.expires_at <= ctx.now:
        raise Rejected(f"the time of approval {ctx.key} is over", {"status": "expired"})
    if state.roles and not set(state.roles) & set(ctx.roles):
        who = "nobody whose signature was proved" if ctx.principal is None else f"{ctx.principal!r}"
        raise Rejected(
            f"approval {ctx.key} is decided by {' or '.join(state.roles)}, which {who} is not",
            {"code": "forbidden", "required_roles": list(state.roles)},
        )
    if len(comment) > MAX_COMMENT_LENGTH:
        raise Rejected(f"a comment has at most {MAX_COMMENT_LENGTH} characters")
    outcome = Outcome(status, ctx.principal, comment, ctx.now)
    ctx.reply(outcome)
    return _end(state, ctx, outcome)


@approval.command
def withdraw(state: Approval, ctx: Turn, reason: str = "") -> Event | None:
    """The run that asked does not need it any more; nobody else can say so."""
    if state.spec is not None:
        _check_sender(ctx, state.spec.run.kind, state.spec.run.key, "the run that asked for it")
    if state.spec is None or state.outcome.status != "pending":
        return None
    return _end(state, ctx, Outcome("withdrawn", ctx.principal, reason, ctx.now))


@approval.command
def time_over(state: Approval, ctx: Turn) -> Event | None:
    """The timer's command: it escalates, or expires. Before its time it does nothing."""
    spec = state.spec
    if spec is None or state.outcome.status != "pending" or state.expires_at is None:
        return None
    if ctx.now < state.expires_at:
        ctx.schedule("time", "time_over", at=state.expires_at)
        return None
    if not spec.escalate_to or state.escalated:
        return _end(state, ctx, Outcome("expired", None, "", ctx.now))
    end = None if spec.escalate_timeout_s is None else ctx.now + spec.escalate_timeout_s
    # Whom anybody could decide, anybody still can.
    roles = tuple(dict.fromkeys((*spec.required_roles, *spec.escalate_to))) if spec.required_roles else ()
    event = Escalated(roles, ctx.now, end)
    _show(ctx, apply(state, event))
    return event


@approval.command
def outcome(state: Approval, ctx: Turn) -> None:
    """What came of it so far, for the run that asks; a command, so that the run's log keeps the answer."""
    _asked(state, ctx)
    ctx.reply(state.outcome)


@approval.query
def describe(state: Approval, ctx: Turn) -> Description | None:
    """All there is to know of it; None when nobody has asked."""
    if state.spec is None:
        return None
    return Description(
        ctx.key, state.spec, state.outcome, state.requested_at, state.roles, state.expires_at, state.escalated
    )


def _check_sender(ctx: Turn, kind: str, key: str, who: str) -> None:
    if ctx.sender != (ctx.address.tenant, kind, key):
        raise Rejected(f"{ctx.address} hears this from {who} alone", {"code": "forbidden"})


def _asked(state: Approval, ctx: Turn) -> Spec:
    if state.spec is None:
        raise Rejected(f"there is no approval {ctx.key}", {"code": "not_found"})
    return state.spec


def _check(spec: Spec) -> None:
    if not 0 < len(spec.name) <= MAX_NAME_LENGTH:
        raise Rejected(f"an approval's name is a text of 1 to {MAX_NAME_LENGTH} characters")
    for field, seconds in (("timeout_s", spec.timeout_s), ("escalate_timeout_s", spec.escalate_timeout_s)):
        if seconds is not None and not 0 < seconds <= LONGEST_S:
            raise Rejected(f"{field} is a number of seconds above 0 and of at most ten years, not {seconds}")
    if spec.escalate_to and spec.timeout_s is None:
        raise Rejected("escalate_to needs timeout_s: it says when")
    if spec.escalate_timeout_s is not None and not spec.escalate_to:
        raise Rejected("escalate_timeout_s needs escalate_to: it says who")


def _show(ctx: Turn, state: Approval) -> None:
    """Puts it on the desk, and sets its clock."""
    assert state.spec is not None
    run = state.spec.run
    summary = Summary(
        ctx.key, state.spec.name, run.kind, run.key, state.roles, state.requested_at, state.expires_at, state.escalated
    )
    ctx.tell(desk, DESK_KEY, "put", summary)
    if state.expires_at is not None:
        ctx.schedule("time", "time_over", at=state.expires_at)


def _end(state: Approval, ctx: Turn, outcome: Outcome) -> Ended:
    assert state.spec is not None
    run = state.spec.run
    ctx.cancel("time")
    ctx.tell(desk, DESK_KEY, "remove", {"id": ctx.key})
    if outcome.status != "withdrawn":
        ctx.signal_run(run.kind, run.key, run.id, signal_name(ctx.key))
    return Ended(outcome)


# -- the desk ----------------------------------------------------------------------------------------------------------


class Put(Struct, frozen=True):
    """An approval is pending."""

    summary: Summary


class Removed(Struct, frozen=True):
    """It is no more."""

    id: str


def listed(state: dict[str, Summary], event: Put | Removed) -> dict[str, Summary]:
    """The fold: the pending approvals by id."""
    match event:
        case Put(summary):
            return state | {summary.id: summary}
        case Removed(id):
            return {known: summary for known, summary in state.items() if known != id}


desk = entity(
    DESK,
    initial=dict[str, Summary](),
    apply=listed,
    snapshot_every=200,
    retention=Retention(keep_events=1000, keep_for_s=30 * DAY_S, archive=False),
    version="1",
)


@desk.command
def put(state: dict[str, Summary], ctx: Turn, summary: Summary) -> Put:
    """An approval is pending, or may be decided by others now; the approval itself says so."""
    _check_sender(ctx, KIND, summary.id, "the approval itself")
    return Put(summary)


@desk.command
def remove(state: dict[str, Summary], ctx: Turn, id: str) -> Removed | None:
    """An approval has ended; it says so itself."""
    _check_sender(ctx, KIND, id, "the approval itself")
    return Removed(id) if id in state else None


@desk.query
def pending(state: dict[str, Summary], after: str = "", limit: int = 100, role: str | None = None) -> Page:
    """At most `limit` pending approvals behind the id `after`; with `role`, those that it may decide."""
    if not 0 < limit <= MAX_PAGE:
        raise Rejected(f"limit is 1 to {MAX_PAGE}")
    found = [
        summary
        for id, summary in sorted(state.items())
        if id > after and (role is None or not summary.roles or role in summary.roles)
    ]
    more = len(found) > limit
    return Page(found[:limit], found[limit - 1].id if more else None)


KINDS: tuple[Any, ...] = (approval, desk)

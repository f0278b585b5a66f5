"""Deleting an actor with its history: one event says that it was, and what comes later is a new life.

The commit takes away what would go on (pending commands, timers, a pause, dead letters) and the snapshots, and marks
the actor; its events and what its recorded answers say follow page by page (runtime.postgres.erasing). The ids of the
commands that it had done stay as long as a repeat of one may come, and are answered with `deleted`.
"""

from __future__ import annotations

from runtime.errors import Rejected
from runtime.host.command import Command, from_pending
from runtime.host.controls import put_away
from runtime.host.items import Order
from runtime.host.plan import Plan, Work
from runtime.host.ports import UNFINISHED_LIMIT, ErasedRow, Found, LogUnavailable
from runtime.kind import DELETED
from schemas.wire import Failure


def delete(plan: Plan, found: Found, work: Work, item: Order) -> None:
    """Writes the deletion into the plan; its giver is answered after the commit with the event's sequence number."""
    problem = _problem(plan, found, work, item)
    if problem is not None:
        plan.promises.append((item.answered, problem))
        return
    rows = [row for row in found.unfinished if row.actor == item.actor]
    for row in rows:
        ended = from_pending(work.lane, row)
        text = f"{ended} was not done when its actor was deleted" + (f" by {item.by}" if item.by else "")
        plan.fail(work, ended, Failure("deleted", text))
        put_away(plan, work, row, ended)
    kind = work.kind
    work.state, work.unreadable, work.paused = kind.initial(), None, False
    work.held = 0
    plan.wake.pop((work.lane, work.actor), None)
    # Also of those that fire in this very batch, behind the deletion.
    plan.timers |= dict.fromkeys(place for place in found.timers if place[0] == item.actor)
    order = Command(item.lane, item.address, "-", item.what, {}, b"")
    order.id = f"delete-{item.actor}-{work.seq}"
    plan.system_event(work, order, DELETED, {"by": item.by, "reason": item.reason})
    state = kind.encode_state(work.state).decode()
    plan.changes.erased.append(ErasedRow(item.actor, work.seq, item.address.tenant, kind.fold_version, state))
    plan.promises.append((item.answered, {"seq": work.seq, "ended": len(rows)}))


def _problem(plan: Plan, found: Found, work: Work, item: Order) -> Exception | None:
    """Why the actor is not deleted now."""
    rows = [row for row in found.unfinished if row.actor == item.actor]
    if work.seq == 0 and not rows:
        return Rejected(f"{item.address} has no events: there is nothing to delete")
    if len(rows) > UNFINISHED_LIMIT:
        return Rejected(
            f"more than {UNFINISHED_LIMIT} commands of {item.address} are not done: pause it, and cancel or skip some"
        )
    if rows and not item.force:
        first = f"{rows[0].method} (command {rows[0].command_id})"
        return Rejected(
            f"{item.address} works: {len(rows)} of its commands are not done, the first is {first}. Wait for them, "
            "cancel them, or delete it with force, which ends them"
        )
    touched = (place[0] for places in (plan.inbox, plan.pending, plan.timers, plan.refused) for place in places)
    if work.seq != work.base_seq or item.actor in touched:
        return LogUnavailable(f"{item.address} is handling a command just now: ask again")
    return None

"""What a person orders: an actor paused or let go on, a dead letter replayed or dropped. Each is a fact of its log."""

from __future__ import annotations

from typing import Any

from runtime.errors import Rejected
from runtime.host import deleting
from runtime.host.command import Command, from_pending, to_pending
from runtime.host.controls import put_away
from runtime.host.items import Order
from runtime.host.plan import Plan, Work
from runtime.host.ports import Found, LogUnavailable
from runtime.kind import Execution
from schemas.control import METHODS
from schemas.wire import Failure


def carry_out(plan: Plan, found: Found, work: Work, item: Order) -> None:
    """Writes an order into the plan; its giver is answered after the commit."""
    if any(erased.actor == item.actor for erased in plan.changes.erased):
        # Its dead letters and what it holds go with this very batch, which has found them in the log.
        plan.promises.append((item.answered, LogUnavailable(f"{item.address} is being deleted just now: ask again")))
        return
    if item.what in ("replay", "drop"):
        if item.dead_letter not in found.parked or item.dead_letter in plan.resolved:
            text = f"dead letter {item.dead_letter} was replayed or dropped already"
            plan.promises.append((item.answered, Rejected(text)))
            return
        plan.resolved.add(item.dead_letter)
    if item.what == "skip":
        _skip(plan, found, work, item)
        return
    if item.what == "delete":
        deleting.delete(plan, found, work, item)
        return
    command = item.command or Command(item.lane, item.address, "-", item.what, {}, b"")
    command.id = command.id or f"{item.what}-{item.actor}-{work.seq}"
    payload: dict[str, Any] = {"by": item.by, "reason": item.reason}
    if item.what == "pause":
        plan.pause(work, command, item.reason, item.by)
    elif item.what == "resume":
        plan.changes.paused.pop(item.actor, None)
        plan.changes.resumed.append(item.actor)
        work.paused = False
        plan.system_event(work, command, "resumed", payload)
        if work.held:
            plan.wake[item.lane, item.actor] = 0.0
    elif item.what == "drop":
        plan.changes.dead_resolved.append((item.dead_letter, "dropped", item.by or ""))
        plan.changes.runs_settled.append((item.actor, command.id, "dropped"))
        plan.system_event(work, command, "dropped", payload | {"command_id": command.id})
    else:
        assert item.what == "replay"
        assert item.command is not None
        plan.changes.dead_resolved.append((item.dead_letter, "replayed", item.by or ""))
        plan.changes.runs_settled.append((item.actor, command.id, "replayed"))
        plan.changes.inbox_forgotten.append((item.actor, command.id))
        plan.system_event(work, command, "replayed", payload | {"command_id": command.id})
        command.attempts = 0
        if command.method in METHODS:  # it needs no key, and would wait for the one of the execution that it is for
            row = to_pending(command, "waiting", holds=False, attempts=0)
            plan.changes.pending.append(row)
            plan.pending[work.actor, command.id] = command.digest
            plan.reruns.append((work.lane, row, 0.0))
        else:
            plan.defer(work, command)
        if work.held and not work.paused:
            plan.wake[item.lane, item.actor] = 0.0
    plan.promises.append((item.answered, {"seq": work.seq, "held": work.held, "paused": work.paused}))


def _skip(plan: Plan, found: Found, work: Work, item: Order) -> None:
    """Puts what holds the key among the dead letters, where it can be replayed; the next one goes on."""
    row = next((row for row in found.next_pending.get(item.actor, ())), None)
    if row is None:
        plan.promises.append((item.answered, Rejected(f"nothing holds the key of {item.address}")))
        return
    place = (row.actor, row.command_id)
    method = work.kind.methods.get(row.method)
    if item.actor in plan.nexts or place in plan.ended or place in plan.changes.pending_done:
        error: Exception = LogUnavailable(f"what holds the key of {item.address} goes on just now: ask again")
        plan.promises.append((item.answered, error))
        return
    if row.state == "running" and not isinstance(method, Execution):
        error = Rejected(f"{row.method} (command {row.command_id}) is a decision under way: it ends by itself")
        plan.promises.append((item.answered, error))
        return
    skipped = from_pending(item.lane, row)
    text = f"{skipped} was skipped: {item.reason or 'no reason was given'}" + (f" (by {item.by})" if item.by else "")
    plan.park(work, skipped, Failure("parked", text), row.attempts)
    order = Command(item.lane, item.address, "-", item.what, {}, b"")
    order.id = f"skip-{item.actor}-{work.seq}"
    plan.system_event(work, order, "skipped", {"by": item.by, "reason": item.reason, "command_id": row.command_id})
    put_away(plan, work, row, skipped)
    answer = {"seq": work.seq, "held": work.held, "paused": work.paused, "skipped": row.command_id}
    plan.promises.append((item.answered, answer))

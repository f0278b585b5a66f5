"""What a person orders: an actor paused or let go on, a dead letter replayed or dropped. Each is a fact of its log."""

from __future__ import annotations

from typing import Any

from runtime.errors import Rejected
from runtime.host.command import Command, to_pending
from runtime.host.items import Order
from runtime.host.plan import Plan, Work
from runtime.host.ports import Found
from schemas.control import METHODS


def carry_out(plan: Plan, found: Found, work: Work, item: Order) -> None:
    """Writes an order into the plan; its giver is answered after the commit."""
    if item.what in ("replay", "drop"):
        if item.dead_letter not in found.parked or item.dead_letter in plan.resolved:
            text = f"dead letter {item.dead_letter} was replayed or dropped already"
            plan.promises.append((item.answered, Rejected(text)))
            return
        plan.resolved.add(item.dead_letter)
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
        plan.system_event(work, command, "dropped", payload | {"command_id": command.id})
    else:
        assert item.what == "replay"
        assert item.command is not None
        plan.changes.dead_resolved.append((item.dead_letter, "replayed", item.by or ""))
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

"""Planted: a signal to a run that is over is taken, and nobody hears it."""

from __future__ import annotations

from runtime.host import controls
from runtime.host.command import Command
from runtime.host.plan import Plan, Work
from runtime.host.ports import Found, PendingRow
from schemas.control import SIGNAL
from tests.chaos.kinds import counter

__all__ = ["counter"]

_carry_out = controls.carry_out


def _take(plan: Plan, found: Found, work: Work, command: Command, row: PendingRow | None = None) -> bool:
    body = controls.read(command)
    over = command.method == SIGNAL and controls.pending_row(plan, found, work.actor, getattr(body, "run", "")) is None
    if over:
        plan.succeed(work, command, controls.NULL)
    return over or _carry_out(plan, found, work, command, row)


controls.carry_out = _take

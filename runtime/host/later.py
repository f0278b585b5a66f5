"""Commands that do not run when they come: they are to start later, or wait whether others come after them."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from runtime.host import runs
from runtime.host.command import Command, to_pending
from runtime.host.plan import Plan, Work
from runtime.host.ports import PendingRow
from runtime.kind import Method
from schemas import headers as names
from schemas import subjects
from schemas.runs import encode_run_id

DEBOUNCE = "$debounce"
"""The name of the timer that lets the last of several commands run."""

LONGEST_ALARM_S = 86_400.0
"""What is to start later is looked at again so often."""

LOOK_AGAIN_S = 0.5
"""Seconds between two looks whether the key of what is due is free."""

_KEPT = (names.SESSION, names.CONTENT_TYPE, names.CORRELATION)
_encode = msgspec.json.Encoder().encode


def is_wanted(method: Method, command: Command, now: float) -> bool:
    """Whether a command that has come is not to run now."""
    if names.START_AT in command.headers and command.start_at > now:
        return True
    return method.debounce_s > 0 and command.timer is None


def put_off(plan: Plan, work: Work, method: Method, command: Command) -> None:
    """Lets such a command run later."""
    if command.start_at > plan.now:
        _delay(plan, work, command)
    else:
        _debounce(plan, work, command, method.debounce_s)


def _delay(plan: Plan, work: Work, command: Command) -> None:
    """Until then it does not stand in anybody's way."""
    row = to_pending(command, "waiting", holds=False, attempts=0, due_at=command.start_at)
    runs.accept(plan, work, command, row)
    plan.pending[work.actor, command.id] = command.digest
    plan.reruns.append((work.lane, row, min(command.start_at - plan.now, LONGEST_ALARM_S)))
    plan.accepted(work, command)


def _debounce(plan: Plan, work: Work, command: Command, quiet_s: float) -> None:
    """Sets the actor's one timer for that anew; the command itself is done, and says which run it may become."""
    run = blake2b(f"{work.actor}/{command.id}/debounced".encode(), digest_size=16).hexdigest()
    kept = names.travelling(command.headers)
    kept |= {name: command.headers[name] for name in _KEPT if name in command.headers}
    kept = {names.CORRELATION: command.id} | kept | {names.CAUSATION: command.id}
    if plan.identity is not None:
        subject, principal = subjects.command(work.address, command.method), plan.identity.principal_of(command)
        kept |= plan.identity.hand_on(subject, run, command.body, principal, command.roles)
    due_at = plan.now + quiet_s
    plan.set_timer(work, DEBOUNCE, due_at, run, command.method, _encode(kept).decode(), command.body)
    _, kind, key = work.address
    plan.succeed(work, command, _encode({"run": encode_run_id(kind, key, run), "start_at": due_at}))


def take_key(plan: Plan, work: Work, row: PendingRow) -> PendingRow | None:
    """The row of a command that was to start later, and is to have its key to itself, once that is free; else None.

    From then on it waits, runs and backs off as one that has just come.
    """
    if work.held or work.paused:
        plan.reruns.append((work.lane, row, LOOK_AGAIN_S))
        return None
    work.held += 1
    plan.update(row.actor, row.command_id, row.state, row.attempts, holds=True)
    return row._replace(holds=True)

"""What is kept of executions so that they can be listed: tags while they go on, and a row when one has ended.

One that goes on is its pending row; the commit that deletes it writes the row of the table `runs`. So nothing can be in
both or in neither, and commands that are no executions cost nothing (docs/adr/0019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from runtime.host.command import Command
from runtime.host.items import Expire
from runtime.host.ports import PendingRow, RunRow, RunState
from runtime.kind import Execution
from schemas import headers as names
from schemas.address import Address
from schemas.runs import tags_of, timeout_of
from schemas.wire import Failure

if TYPE_CHECKING:
    from runtime.host.plan import Plan, Work

_STATUS_OF_CODE: dict[str, RunState] = {
    "rejected": "rejected",
    "cancelled": "cancelled",
    "terminated": "terminated",
    "timed_out": "timed_out",
    "expired": "timed_out",
}
SHOWN_ERROR = 2000
"""Characters of an error that the list keeps; the whole one is in the recorded answer, or the dead letter."""

_decode_failure = msgspec.json.Decoder(Failure).decode


def is_run(work: Work, command: Command) -> bool:
    """Whether a command's handler is an execution."""
    return isinstance(work.kind.methods.get(command.method), Execution)


def accept(plan: Plan, work: Work, command: Command, row: PendingRow) -> None:
    """Adds a command's pending row; the time-outs of an execution count from here."""
    if not is_run(work, command):
        plan.changes.pending.append(row)
        return
    row = row._replace(tags=tags_of(command.headers.get(names.TAGS, "")))
    timeouts = _timeouts(work, command)
    if timeouts:
        begins = max(plan.now, command.start_at)
        until = {_UNTIL[name]: str(int((begins + timeout_of(given)) * 1000)) for name, given in timeouts.items()}
        command.headers |= timeouts | until
        headers = msgspec.json.encode(msgspec.json.decode(row.headers) | timeouts | until).decode()
        expires_at = min(map(int, until.values())) / 1000
        row = row._replace(headers=headers, expires_at=expires_at)
        plan.expiring.append((Expire(work.lane, command.actor, command.address, command.id), expires_at))
    plan.changes.pending.append(row)


_UNTIL = {names.QUEUE_TIMEOUT: names.QUEUE_UNTIL, names.RUN_TIMEOUT: names.RUN_UNTIL}


def _timeouts(work: Work, command: Command) -> dict[str, str]:
    """The time-outs of a run by their headers: as its command has them, else as its definition."""
    method = work.kind.methods[command.method]
    assert isinstance(method, Execution)
    own = {names.QUEUE_TIMEOUT: method.queue_timeout_s, names.RUN_TIMEOUT: method.run_timeout_s}
    found = {name: f"{seconds:.3f}" for name, seconds in own.items() if seconds is not None}
    return found | {name: command.headers[name] for name in _UNTIL if name in command.headers}


def overdue(row: PendingRow, now: float) -> tuple[Failure | None, float | None]:
    """(why a run is ended now, else when to look again). It has begun if an attempt was, or is to be gone on with."""
    if row.expires_at is None:
        return None, None
    headers = msgspec.json.decode(row.headers)
    what = f"run {row.command_id!r} of {Address(row.tenant, row.kind, row.key)}"
    run, queue = (_moment(headers, name) for name in (names.RUN_UNTIL, names.QUEUE_UNTIL))
    if run is not None and run <= now:
        return Failure("timed_out", f"{what} took longer than its time-out, {headers.get(names.RUN_TIMEOUT)} s"), None
    if row.state != "waiting" or row.due_at is not None or row.attempts:
        return None, run
    if queue is not None and queue <= now:
        text = f"{what} waited longer than it may, {headers.get(names.QUEUE_TIMEOUT)} s, and had not begun"
        return Failure("expired", text), None
    return None, min([at for at in (run, queue) if at is not None], default=None)


def _moment(headers: dict[str, str], name: str) -> float | None:
    return int(headers[name]) / 1000 if name in headers else None


def end(plan: Plan, work: Work, command: Command, attempts: int, row: PendingRow | None = None) -> None:
    """Records the end of a command that was pending, if it is an execution; its outcome is in the plan already.

    `row` is its pending row where it is at hand: it was one when that was written, whatever the code has by now.
    """
    if not is_run(work, command) and (row is None or row.tags is None):
        return
    place = (work.actor, command.id)
    status: RunState = "completed"
    failure: Failure | None = None
    if (answer := plan.inbox.get(place)) is not None:
        if answer.failed:
            failure = _decode_failure(answer.result)
    elif refusals := plan.refused.get(place):
        failure = _decode_failure(refusals[-1].failure)
    else:
        failure = Failure("cancelled", f"the timer of {command} was cancelled or replaced before it ran")
    letters = plan.changes.dead_letters
    if letters and (letters[-1].actor, letters[-1].command_id) == place:
        status = "parked"
    elif failure is not None:
        status = _STATUS_OF_CODE.get(failure.code, "failed")
    code, text = (failure.code, failure.message[:SHOWN_ERROR]) if failure is not None else (None, None)
    if text is not None:
        text = text.replace("\0", "\\0")
    plan.changes.runs.append(RunRow(work.actor, command.id, status, attempts, work.seq, code, text))

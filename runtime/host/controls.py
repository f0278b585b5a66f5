"""What is said to a running execution: it becomes a fact of its actor whoever holds the key, and then reaches it."""

from __future__ import annotations

import msgspec

from runtime.arguments import (
    MAX_KEPT_NESTING,
    MAX_NESTING,
    UNENCODABLE,
    InvalidArguments,
    encode_json,
    nests_too_deep,
)
from runtime.failure import failure_of
from runtime.host import runs
from runtime.host.command import Command, from_pending, is_delayed, to_pending
from runtime.host.plan import Plan, Work
from runtime.host.ports import Found, PendingRow
from runtime.kind import Decision, Execution
from runtime.mail import ANSWER, CANCEL, MOST_UNTAKEN, SIGNAL, UPDATE, Message, Said
from schemas import codec, control
from schemas.headers import is_id
from schemas.tokens import SIGNAL_PREFIX, BadToken, parse_token
from schemas.wire import Failure

NULL = b"null"

ENDED = "ended"
"""The name of the system event with which a run ends, of kinds that keep their runs."""

TOO_EARLY_S = 0.1

LOOK_AGAIN_S = 2.0
"""Seconds within which the sender of an update hears that its run ended without an answer."""

ANSWER_NESTING = MAX_KEPT_NESTING + 8
"""Levels of an answer: the result's own, and those of what it travels in."""

Body = control.Signal | control.Cancel | control.Start | control.Complete | control.Answered


def read(command: Command) -> Body | Failure:
    """What a command of the engine's own methods says, or why it cannot be read."""
    try:
        plain = codec.decode(command.body, command.content_type)
        body: Body = msgspec.convert(plain, control.BODIES[command.method])
        encoded = encode_json(body)  # MessagePack can say more than JSON
    except (codec.BadBody, *UNENCODABLE, RecursionError) as error:
        return Failure("invalid_arguments", f"{command.address}.{command.method}: {error}")
    if not isinstance(body, control.Start) and not is_id(body.run):
        return Failure("invalid_arguments", f"{command.address}.{command.method}: run is the id of a command", "$.run")
    if isinstance(body, control.Signal | control.Start) and not 0 < len(body.name) <= control.MAX_NAME_LENGTH:
        text = f"{command.address}.{command.method}: name is 1 to {control.MAX_NAME_LENGTH} characters"
        return Failure("invalid_arguments", text, "$.name")
    if isinstance(body, control.Signal | control.Start) and body.name.startswith(SIGNAL_PREFIX):
        text = f"{command.address}.{command.method}: names with {SIGNAL_PREFIX!r} are tokens': complete one"
        return Failure("invalid_arguments", text, "$.name")
    # An answer is what a handler returned, which may nest deeper than what is sent to one.
    most = ANSWER_NESTING if isinstance(body, control.Answered) else MAX_NESTING
    if nests_too_deep(encoded, most):
        text = f"{command.address}.{command.method}: the body nests deeper than {most} levels"
        return Failure("invalid_arguments", text)
    return body


class _Run(msgspec.Struct):
    run: str


_run_of_json = msgspec.json.Decoder(_Run).decode
_run_of_msgpack = msgspec.msgpack.Decoder(_Run).decode


def run_of(command: Command) -> str | None:
    """The command whose execution is meant; None when that cannot be read."""
    try:
        # In the pod's event loop: of a body of megabytes nothing else is built here.
        decode = _run_of_msgpack if codec.is_msgpack(command.content_type) else _run_of_json
        run = decode(command.body).run
    except (codec.BadBody, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return run if is_id(run) else None


def carry_out(plan: Plan, found: Found, work: Work, command: Command, row: PendingRow | None = None) -> bool:
    """Writes what a control command entails into the plan. False when it stays pending: an update, until its answer.

    `row` is its own pending row: it waited for its actor to be loaded, or is an update.
    """
    place = (work.actor, command.id)
    if row is not None and (place not in found.pending or place in plan.changes.pending_done):
        return False  # it has ended meanwhile
    body = read(command)
    if isinstance(body, control.Complete):
        body = _token_problem(plan, command, body) or body
    if isinstance(body, Failure):
        plan.refuse(work.lane, command, body, work.seq)
        return True
    assert not isinstance(body, control.Start), "of runtime.host.beginnings"
    run = pending_row(plan, found, work.actor, body.run)
    full = row is None and isinstance(body, control.Signal) and is_full(work, body.run)
    if run is None or full or _is_deaf(work, run, body):
        _unheard(plan, work, command, body, run)
        return True
    if isinstance(body, control.Answered):
        result = msgspec.Raw(encode_json(body.result))
        message = Message(body.run, body.question, "", result, body.error, body.digest)
        say(plan, work, command, ANSWER, message, run)
    elif isinstance(body, control.Complete):
        failed = None if body.error is None else Failure("handler_failed", body.error)
        name = SIGNAL_PREFIX + parse_token(body.token).label
        message = Message(body.run, command.id, name, msgspec.Raw(encode_json(body.value)), failed)
        say(plan, work, command, SIGNAL, message, run)
    elif isinstance(body, control.Terminate):
        return _terminate(plan, work, command, run, body, row)
    elif isinstance(body, control.Cancel):
        _cancel(plan, work, command, run, body)
    else:
        message = Message(body.run, command.id, body.name, msgspec.Raw(encode_json(body.value)))
        if command.method == control.UPDATE:
            return _update(plan, work, command, message, run, row)
        say(plan, work, command, SIGNAL, message, run)
    plan.succeed(work, command, NULL)
    return True


def _token_problem(plan: Plan, command: Command, body: control.Complete) -> Failure | None:
    """Why a token cannot be used with this command."""
    try:
        token = parse_token(body.token)
    except BadToken as error:
        return Failure("invalid_arguments", f"{command.address}: {error}", "$.token")
    if token.tenant != command.address.tenant:
        return Failure("forbidden", f"the token is of another tenant than {command.address.tenant!r}")
    known = plan.identity is None or plan.identity.is_token(token)
    if not known or token.address != command.address or token.run != body.run:
        text = f"no run of {command.address} handed out this token: use it as the step was given it"
        return Failure("not_found", text)
    if command.id != token.command_id:
        text = f"a token is used once: send what completes it under the id {token.command_id!r}"
        return Failure("bad_request", text)
    return None


def not_running(command: Command, run: str) -> Failure:
    """The failure of what was meant for a run that is none."""
    return Failure(
        "not_running",
        f"{command}: run {run!r} of {command.address} is not running: it has ended, or its command has not arrived yet",
    )


def _is_deaf(work: Work, run: PendingRow, body: Body) -> bool:
    """Whether a message is for a decision or another message, which hear nothing; what waits can be cancelled."""
    if run.method not in control.METHODS and not isinstance(work.kind.methods.get(run.method), Decision):
        return False
    waits = run.state != "running"
    return not isinstance(body, control.Terminate) and not (isinstance(body, control.Cancel) and waits)


def is_full(work: Work, run: str) -> bool:
    """Whether a run that goes on here holds so many messages which it has not taken that it is said no more."""
    mail = work.lane.mails.get((work.actor, run))
    return mail is not None and mail.full


def too_many(command: Command, run: str) -> Failure:
    """The failure of what is said to such a run; not to be recorded: it may take them, and hear this then."""
    text = f"run {run!r} of {command.address} holds {MOST_UNTAKEN} messages, or too large ones, that it has not taken"
    return Failure("too_many_requests", f"{command}: {text}: send it again later, or look for what the run waits for")


def _unheard(plan: Plan, work: Work, command: Command, body: Body, run: PendingRow | None) -> None:
    """Tells the sender that nobody hears it."""
    assert not isinstance(body, control.Start), "of runtime.host.beginnings"
    if isinstance(body, control.Answered):
        plan.succeed(work, command, NULL)  # its question was given up
    elif isinstance(body, control.Complete):
        # Not recorded: a token has but one id, and a run that is parked may be replayed.
        plan.tell(work.lane, command, not_running(command, body.run), work.seq)
    elif run is None:
        plan.fail(work, command, not_running(command, body.run))
    elif not _is_deaf(work, run, body):
        plan.tell(work.lane, command, too_many(command, body.run), work.seq)
    else:
        text = f"command {body.run!r} of {command.address} is no execution, and hears nothing: cancel it while it waits"
        plan.fail(work, command, Failure("not_running", f"{command}: {text}"))


def settle(plan: Plan, found: Found, work: Work, id: str, result: bytes, failure: Failure | None) -> None:
    """Ends an update with its handler's answer; one that has ended already stays as it is."""
    row = pending_row(plan, found, work.actor, id)
    if row is None:
        return
    command = from_pending(work.lane, row)
    if failure is None:
        plan.succeed(work, command, result)
    else:
        plan.fail(work, command, failure)
    _end(plan, row)


def _update(
    plan: Plan, work: Work, command: Command, message: Message, run: PendingRow, row: PendingRow | None
) -> bool:
    """Lets an update wait for the handler's answer, and looks from time to time whether its run still goes on.

    True when the workflow's validator refuses it: then that is all there is of it.
    """
    accepted = to_pending(command, "running", holds=False, attempts=1)
    if row is None or row.state != "running":
        try:
            work.kind.validate(work.state, message.name, bytes(message.value))
        except InvalidArguments as error:
            text = f"{command.address}.{message.name}: {error}"
            plan.refuse(work.lane, command, Failure("invalid_arguments", text, error.path), work.seq)
            return True
        except Exception as error:
            plan.fail(work, command, failure_of(error, command))
            return True
    if row is None:
        plan.changes.pending.append(accepted)
        plan.pending[work.actor, command.id] = command.digest
    elif row.state != "running":
        plan.update(work.actor, command.id, "running", 1)
    if row is None or row.state != "running":  # else it was said before
        say(plan, work, command, UPDATE, message, run)
    plan.reruns.append((work.lane, accepted, LOOK_AGAIN_S))
    return False


def say(plan: Plan, work: Work, command: Command, what: str, message: Message, run: PendingRow) -> None:
    """Says something to a pending execution: an event, and after the commit it hears it."""
    plan.record(work, command, what, encode_json(message).decode(), run=message.run)
    plan.said.append((work.lane, work.actor, Said(work.seq, what, message)))
    if run.state == "waiting" and run.due_at is not None and not is_delayed(run, plan.now):  # it is suspended
        _wake(plan, work, run)


def _wake(plan: Plan, work: Work, run: PendingRow) -> None:
    """Lets a run go on at once that was to go on later."""
    plan.update(work.actor, run.command_id, run.state, run.attempts, plan.now, run.error)
    plan.go_on(work.lane, run, 0.0)


def _cancel(plan: Plan, work: Work, command: Command, row: PendingRow, body: control.Cancel) -> None:
    """Cancels a run. What has not begun, and has nothing to undo, ends here."""
    method = work.kind.methods.get(row.method)
    begun = (isinstance(method, Execution) and not is_delayed(row, plan.now)) or row.state == "running"
    if begun:
        say(plan, work, command, CANCEL, Message(body.run, command.id, body.reason), row)
        if row.state == "backoff":
            _wake(plan, work, row)
        return
    cancelled = from_pending(work.lane, row)
    text = f"{cancelled} was cancelled before it ran: {body.reason or 'no reason was given'}"
    plan.fail(work, cancelled, Failure("cancelled", text))
    _end(plan, row)
    work.held -= row.holds
    if work.held and not work.paused:
        plan.wake[work.lane, work.actor] = 0.0


def _terminate(
    plan: Plan, work: Work, command: Command, run: PendingRow, body: control.Terminate, row: PendingRow | None
) -> bool:
    """Ends a run without its handler. False when it is too early for that: it was accepted in this very batch."""
    place = (work.actor, run.command_id)
    if not isinstance(work.kind.methods.get(run.method), Execution):
        text = f"{command}: run {body.run!r} is no execution, which alone can be terminated: cancel it while it waits"
        plan.fail(work, command, Failure("not_running", text))
        return True
    if accepted_now(plan, *place):
        waiting = row or to_pending(command, "waiting", holds=False, attempts=0)
        if row is None:
            plan.changes.pending.append(waiting)
            plan.pending[work.actor, command.id] = command.digest
        plan.reruns.append((work.lane, waiting, TOO_EARLY_S))
        return False
    fact = {"reason": body.reason, "by": body.by}
    plan.record(work, command, "terminate", encode_json(fact).decode(), run=body.run)
    end_run(plan, work, run, Failure("terminated", f"run {body.run!r} of {work.address} was terminated: {_why(body)}"))
    plan.succeed(work, command, NULL)
    return True


def end_run(plan: Plan, work: Work, run: PendingRow, failure: Failure) -> None:
    """Ends a pending execution with a failure; if it runs in this pod, it is stopped after the commit."""
    ended = from_pending(work.lane, run)
    fail_run(plan, work, ended, failure)
    put_away(plan, work, run, ended)


def fail_run(plan: Plan, work: Work, ended: Command, failure: Failure) -> None:
    """Answers a run with a failure, which a workflow's actor keeps; its pending row is the caller's business."""
    if work.unreadable is None and (fact := work.kind.ended(ended.id, NULL, failure)) is not None:
        plan.record(work, ended, ENDED, fact.decode())
    plan.fail(work, ended, failure)


def put_away(plan: Plan, work: Work, run: PendingRow, ended: Command) -> None:
    """Takes a pending execution, whose end is in the plan already, out of all that would go on with it."""
    place = (run.actor, run.command_id)
    runs.end(plan, work, ended, run.attempts, run)
    _end(plan, run)
    plan.starts = [start for start in plan.starts if (start.command.actor, start.command.id) != place]
    plan.stopped.append((work.lane, place))
    work.held -= run.holds
    if work.held and not work.paused:
        plan.wake[work.lane, work.actor] = 0.0


def _why(body: control.Terminate) -> str:
    return (body.reason or "no reason was given") + (f" (by {body.by})" if body.by else "")


def pending_row(plan: Plan, found: Found, actor: str, id: str) -> PendingRow | None:
    """A command's pending row as this batch sees it so far."""
    place = (actor, id)
    if place in plan.changes.pending_done:
        return None
    row = found.runs.get(place)
    for accepted in plan.changes.pending:
        if (accepted.actor, accepted.command_id) == place:
            row = accepted
    for update in plan.changes.pending_updates if row is not None else ():
        if (update.actor, update.command_id) == place and row is not None:
            row = row._replace(state=update.state, attempts=update.attempts, due_at=update.due_at, error=update.error)
    return row


def accepted_now(plan: Plan, actor: str, id: str) -> bool:
    """Whether a command's pending row is written by this very batch."""
    return any((one.actor, one.command_id) == (actor, id) for one in plan.changes.pending)


def _end(plan: Plan, row: PendingRow) -> None:
    """Deletes a pending row, also when this very batch has made it, or was to go on with it."""
    plan.ended.add((row.actor, row.command_id))
    plan.changes.pending = [
        one for one in plan.changes.pending if (one.actor, one.command_id) != (row.actor, row.command_id)
    ]
    plan.changes.pending_done.append((row.actor, row.command_id))


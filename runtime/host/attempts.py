"""One attempt at a command: its handler decides, reads or is started, and what comes of it goes into the plan.

Every way a handler can fail ends here in a fact: answered, tried again later, or parked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.arguments import InvalidArguments, encode_json
from runtime.errors import BadResult, Cancelled, Rejected, StepFailed
from runtime.failure import ATTEMPT, failed_attempt, failure_of, is_cycle, text_of
from runtime.flow.state import RunState
from runtime.host import controls, runs
from runtime.host.command import Command, from_pending, to_pending
from runtime.host.handling import Running
from runtime.host.items import Finished, HandedOver, Start, Step
from runtime.host.plan import Plan, Work
from runtime.host.ports import Found, PendingRow
from runtime.host.works import Works
from runtime.journal import STEP
from runtime.kind import Admission, Decision, Execution, Kind, Method, NewEvent, Read
from runtime.mail import ANSWERED
from runtime.suspension import Suspended
from runtime.turn import Turn
from schemas import headers as names
from schemas.wire import Failure

if TYPE_CHECKING:
    from runtime.host.lane import Activation

_log = logging.getLogger("troupe.turns")

STARTED = "started"
"""The name of the system event with which a run begins, of kinds that keep their runs."""

LONGEST_REST_S = 86_400.0
"""A suspended run starts anew at least so often, also when it waits for no time."""


class Attempts:
    """What Turns has its items do.

    Args:
        kinds: the kinds this pod serves.
        activations: the batch's actors that are in memory; every other one is in `found`.
        found: what the log said when the batch was begun.
        isolated: (kind, method) of decisions that blocked before: they run beside the turns.
        outside: actors whose fold takes long: they are loaded outside the commit; None for every one with a tail.
        principal_of: the proven principal of a command, or None.
        random: numbers in [0, 1) for the jitter of retries.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        activations: Mapping[str, Activation],
        found: Found,
        plan: Plan,
        *,
        isolated: frozenset[tuple[str, str]],
        outside: frozenset[str] | None,
        principal_of: Callable[[Command], str | None],
        random: Callable[[], float],
    ) -> None:
        self._kinds = kinds
        self._found = found
        self._plan = plan
        self._isolated = isolated
        self._principal_of = principal_of
        self._random = random
        self.running = Running()
        self._works = Works(kinds, activations, found, plan, outside, self.running)

    def _payload(self, work: Work, method: Method, command: Command) -> _Payload | None:
        try:
            return _Payload(method.arguments.decode(command.body, command.content_type))
        except InvalidArguments as error:
            text = f"{command.address}.{command.method}: {error}"
            state = work.state
            if isinstance(state, RunState) and (state.run, state.status) == (command.id, "running"):
                # It has begun, under code that took them: refused it would be lost, and its actor run for ever.
                why = f"it began with arguments that this code does not take ({text}): mend that, and replay it"
                self._doom(work, command, why, 0)
            else:
                self._plan.refuse(work.lane, command, Failure("invalid_arguments", text, error.path), work.seq)
        return None

    def _turn(self, work: Work, command: Command, attempt: int) -> Turn:
        headers, principal = command.headers, self._principal_of(command)
        return Turn(
            work.address,
            command.id,
            work.seq,
            self._plan.now,
            attempt=attempt,
            principal=principal,
            roles=command.roles,
            sender=command.sender,
            session=headers.get(names.SESSION),
            correlation_id=headers.get(names.CORRELATION),
            headers=headers,
            method=command.method,
        )

    # -- attempts -------------------------------------------------------------------------------------------------

    def _read(self, work: Work, method: Read, payload: Any, command: Command) -> None:
        self.running.method, self.running.kind, self.running.command = method, work.kind.name, command
        try:
            result = method.read(work.state, payload, self._turn(work, command, 1))
        except BaseException as error:
            self._plan.fail(work, command, failure_of(error, command))
        else:
            self._plan.succeed(work, command, result)

    def _decide(
        self, work: Work, method: Decision, payload: Any, command: Command, row: PendingRow | None = None
    ) -> bool:
        """One turn of a decision. True when the command is done, false when it will be tried again."""
        plan = self._plan
        self.running.method, self.running.kind, self.running.command = method, work.kind.name, command
        attempt = (row.attempts if row else 0) + 1
        turn = self._turn(work, command, attempt)
        plan.turns += 1
        try:
            decided = method.decide(work.state, payload, turn)
        except BaseException as error:
            return self._failed(work, command, error, attempt, holds=True, known=row is not None)
        if plan.abandoned:
            return True
        plan.append(work, command, decided.events, turn.principal)
        if turn.counts is not None:
            plan.counted.append(turn.counts)
        work.state = decided.state
        if turn.messages or turn.timers:
            plan.carry(work, command, turn)
        plan.succeed(work, command, decided.result)
        return True

    def _start(
        self, work: Work, method: Method, payload: Any, command: Command, *, attempt: int, holds: bool, known: bool
    ) -> None:
        """Accepts an execution; it is started after the commit."""
        plan = self._plan
        if known:
            plan.update(work.actor, command.id, "running", attempt)
        else:
            runs.accept(plan, work, command, to_pending(command, "running", holds=holds, attempts=attempt))
            plan.pending[work.actor, command.id] = command.digest
            if holds:
                work.held += 1
            plan.accepted(work, command)
        turn = self._turn(work, command, attempt)
        if (started := work.kind.started(work.state, payload, turn)) is not None:
            plan.record(work, command, STARTED, started.decode())
            turn.seq = work.seq
        turn.expires_at = command.expires_at(work.kind.behaviour.retry)
        isolated = not isinstance(method, Execution)
        start = Start(command, work.kind, payload, turn, work.state, attempt, holds, isolated, known)
        start.begun = known and len(work.kind.watches) > 0 and started is None
        plan.starts.append(start)

    def _finished(self, item: Finished) -> None:
        plan, command, turn = self._plan, item.command, item.turn
        if (command.actor, command.id) not in item.lane.active or (command.actor, command.id) in plan.ended:
            return  # it was terminated meanwhile
        work = self._works.get(item.lane, command.actor, command.address)
        plan.turns += 1
        if isinstance(item.error, HandedOver):
            plan.update(work.actor, command.id, "waiting", turn.attempt - 1, plan.now)
            return
        if isinstance(item.error, Suspended) and not item.doomed:
            self._suspend(item, item.error)
            return
        if item.doomed:
            done = self._failed(work, command, BadResult(item.doomed), turn.attempt, holds=item.holds, known=True)
        elif item.decided is not None:
            if item.decided.events:
                plan.append(work, command, item.decided.events, turn.principal)
                work.state = item.decided.state
            if turn.messages or turn.timers:
                plan.carry(work, command, turn)
            if turn.counts is not None:
                plan.counted.append(turn.counts)
            self._ended(work, command, item.decided.result, None)
            plan.succeed(work, command, item.decided.result)
            done = True
        else:
            assert item.error is not None
            done = self._failed(work, command, item.error, turn.attempt, holds=item.holds, known=True)
        if done:
            runs.end(plan, work, command, turn.attempt)
            plan.changes.pending_done.append((work.actor, command.id))
            if item.holds:
                work.held -= 1
                if work.held and not work.paused:
                    plan.wake[item.lane, work.actor] = 0.0

    def _suspend(self, item: Finished, suspended: Suspended) -> None:
        """Lets a run that was stopped while it waited start anew: at its time, or at once if it has missed something.

        What is said to it from here on finds its row as it is now.
        """
        plan, command = self._plan, item.command
        place = (command.actor, command.id)
        due_at = min(suspended.due, plan.now + LONGEST_REST_S)
        if suspended.has_news or any((actor, said.message.run) == place for _, actor, said in plan.said):
            due_at = plan.now
        attempts = item.turn.attempt - 1
        plan.update(*place, "waiting", attempts, due_at)
        row = to_pending(command, "waiting", holds=item.holds, attempts=attempts, due_at=due_at)
        plan.go_on(item.lane, row, due_at - plan.now)

    def _step(self, item: Step) -> None:
        """Records a completed step of a running execution. It needs the actor's next sequence number, not its state."""
        plan, command = self._plan, item.command
        if item.doomed:
            plan.promises.append((item.answered, BadResult(item.doomed)))
        elif self._keeps_nothing(command):
            plan.promises.append((item.answered, asyncio.CancelledError(f"{command} was ended")))
        elif item.entry is None and not item.copied:
            plan.promises.append((item.answered, None))
        else:
            work = self._works.get(item.lane, command.actor, command.address)
            if work.loading:
                plan.steps_again.append(item)
                return
            if item.entry is None:
                plan.append(work, command, [NewEvent(type_, 1, payload) for type_, payload in item.copied], None)
                plan.promises.append((item.answered, None))
                return
            plan.record(work, command, STEP, encode_json(item.entry).decode())
            if item.entry.step.startswith(ANSWERED):
                update = item.entry.step.removeprefix(ANSWERED)
                controls.settle(plan, self._found, work, update, bytes(item.entry.result), item.entry.rejected)
            plan.promises.append((item.answered, None))

    def _keeps_nothing(self, command: Command) -> bool:
        """Whether an execution was ended without its handler, in this batch or just before."""
        place, stopped = (command.actor, command.id), self._plan.stopped
        return place not in command.lane.active or (bool(stopped) and any(place == one for _, one in stopped))

    # -- failure --------------------------------------------------------------------------------------------------

    def _failed(
        self, work: Work, command: Command, error: BaseException, attempt: int, *, holds: bool, known: bool
    ) -> bool:
        """Settles a failed attempt. `known`: the command has a pending row. True when it is done with."""
        plan, policy = self._plan, work.kind.behaviour.retry
        if isinstance(error, (Rejected, Cancelled, StepFailed)):
            failure = failure_of(error, command)
            self._ended(work, command, b"null", failure)
            plan.fail(work, command, failure)
            return True
        hopeless = isinstance(error, BadResult) or policy.gives_up(error) or is_cycle(error)
        if (
            attempt < policy.max_attempts
            and not hopeless
            and plan.now + (delay := policy.wait_s(error, attempt, self._random())) <= command.expires_at(policy)
        ):
            text = text_of(error)
            _log.warning("attempt %d of %s failed, the next one is in %.2f s: %s", attempt, command, delay, text)
            due_at = plan.now + delay
            if known and not work.loading and runs.is_run(work, command):
                plan.system_event(work, command, ATTEMPT, failed_attempt(attempt, text))
            if known:
                plan.update(work.actor, command.id, "backoff", attempt, due_at, text)
            else:
                plan.changes.pending.append(
                    to_pending(command, "backoff", holds=True, attempts=attempt, due_at=due_at, error=text)
                )
                plan.pending[work.actor, command.id] = command.digest
                work.held += 1
            if holds:
                plan.wake[work.lane, work.actor] = delay
            else:
                row = to_pending(command, "backoff", holds=False, attempts=attempt, error=text)
                plan.reruns.append((work.lane, row, delay))
            return False
        command.attempts = attempt
        _log.error("parked %s after %d attempts: %s", command, attempt, text_of(error), exc_info=error)
        plan.park(work, command, failure_of(error, command), attempt)
        if work.kind.behaviour.on_parked == "pause" and holds:
            plan.pause(work, command, f"command {command.id} was parked: {text_of(error)}", None)
        return True

    def _ended(self, work: Work, command: Command, result: bytes, failure: Failure | None) -> None:
        """Records the end of a run, if its kind keeps its runs."""
        if command.id and (ended := work.kind.ended(command.id, result, failure)) is not None:
            self._plan.record(work, command, controls.ENDED, ended.decode())

    def _admitted(self, work: Work, method: Method, command: Command, payload: Any) -> Admission:
        """What becomes of a command that would begin a run; the answer, or the cancellation, is in the plan then."""
        plan = self._plan
        admission = work.kind.admission(work.state, payload, command.id)
        if admission.what in ("answer", "refuse"):
            if admission.failure is not None:
                plan.fail(work, command, admission.failure)
            else:
                plan.succeed(work, command, admission.result)
        elif admission.what == "replace" and work.held:
            plan.cancel_run(work, command, admission.run)
        return admission

    def _replaced(self, work: Work, waiting: Sequence[PendingRow]) -> None:
        """Cancels the actor's run if the first of those that wait behind it replaces it: it came before that began."""
        plan = self._plan
        row = next((row for row in waiting if (row.actor, row.command_id) not in plan.ended), None)
        method = work.kind.methods.get(row.method) if row is not None and work.kind.watches else None
        if row is None or not isinstance(method, Execution):
            return
        command = from_pending(work.lane, row)
        try:
            payload = method.arguments.decode(command.body, command.content_type)
        except InvalidArguments:
            return  # it is refused when its turn comes
        admission = work.kind.admission(work.state, payload, command.id)
        if admission.what == "replace":
            plan.cancel_run(work, command, admission.run)

    def _doom(self, work: Work, command: Command, why: str, attempts: int) -> None:
        """Parks a command for what happened outside its handler."""
        _log.error("parked %s: %s", command, why)
        self._plan.park(work, command, Failure("handler_failed", f"{command}: {why}"), attempts)

    def _blocks(self, kind: Kind, method: Method) -> bool:
        return (kind.name, method.name) in self._isolated


class _Payload(msgspec.Struct):
    value: Any

"""A start with a signal: the run that goes on is told, or a new one begins and is told, in one turn.

Two messages cannot do that: the run may end between a signal that finds it and a start that does not, and whoever sends
only the one or only the other loses the signal.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from runtime.arguments import InvalidArguments, encode_json
from runtime.flow.context import RUN
from runtime.flow.state import RunState
from runtime.host import controls
from runtime.host.attempts import Attempts
from runtime.host.command import Command, to_pending
from runtime.host.plan import Work
from runtime.host.ports import PendingRow
from runtime.kind import Execution
from runtime.mail import SIGNAL, Message
from schemas import control, subjects
from schemas import headers as names
from schemas.wire import Failure

LOOK_AGAIN_S = 2.0
"""Seconds between two looks at an actor that is paused, or whose run is still to begin."""

_PASSED = frozenset(
    [
        names.SESSION, names.CORRELATION, names.TRACEPARENT, names.TAGS, names.QUEUE_TIMEOUT, names.RUN_TIMEOUT,
        names.PRIORITY,
    ]
)  # fmt: skip
"""What a start says of its run, and the run is to have."""


class Beginnings(Attempts):
    """What Turns does with `$start`."""

    def _told(self, work: Work, command: Command, row: PendingRow | None = None) -> bool:
        """Carries out what is said to an execution. False when it stays pending."""
        if command.method != control.START:
            return controls.carry_out(self._plan, self._found, work, command, row)
        place = (work.actor, command.id)
        if row is not None and (place not in self._found.pending or place in self._plan.changes.pending_done):
            return False  # it has ended meanwhile
        body = controls.read(command)
        method = work.kind.methods.get(RUN)
        if isinstance(body, Failure):
            self._plan.refuse(work.lane, command, body, work.seq)
            return True
        assert isinstance(body, control.Start)
        if not isinstance(method, Execution) or not isinstance(work.state, RunState):
            text = f"kind {work.kind.name!r} is no workflow, which alone can be started with a signal: send a command"
            self._plan.refuse(work.lane, command, Failure("unknown_method", text), work.seq)
            return True
        return self._start_and_say(work, method, command, body, row)

    def _start_and_say(
        self, work: Work, method: Execution, command: Command, body: control.Start, row: PendingRow | None
    ) -> bool:
        plan, state = self._plan, work.state
        run = state.run if state.status == "running" else None
        if run is None:
            if work.held or work.paused:
                return self._look_again(work, command, row, LOOK_AGAIN_S)
            run = self._begin(work, method, command, body)
            if run is None:
                return True
        found = controls.pending_row(plan, self._found, work.actor, run)
        if found is None:  # the actor was not in memory: which run to look up is known only now
            return self._look_again(work, command, row, 0.0 if row is None else LOOK_AGAIN_S)
        if row is None and controls.is_full(work, run):
            plan.tell(work.lane, command, controls.too_many(command, run), work.seq)
            return True
        message = Message(run, command.id, body.name, msgspec.Raw(encode_json(body.value)))
        controls.say(plan, work, command, SIGNAL, message, found)
        plan.succeed(work, command, encode_json({"run": run, "started": run != state.run}))
        return True

    def _look_again(self, work: Work, command: Command, row: PendingRow | None, after_s: float) -> bool:
        if row is None:
            row = to_pending(command, "waiting", holds=False, attempts=0)
            self._plan.changes.pending.append(row)
            self._plan.pending[work.actor, command.id] = command.digest
        self._plan.reruns.append((work.lane, row, after_s))
        return False

    def _begin(self, work: Work, method: Execution, command: Command, body: control.Start) -> str | None:
        """Begins the run; gives its command's id, or None when there is none: the start is answered then."""
        plan = self._plan
        failure = work.kind.follows(work.state)
        if failure is not None:
            plan.fail(work, command, failure)
            return None
        args = b"" if body.args is None else encode_json(body.args)
        headers = {name: command.headers[name] for name in _PASSED & command.headers.keys()}
        headers |= names.travelling(command.headers) | {names.CAUSATION: command.id}
        id = blake2b(f"{work.actor}/{command.id}/start".encode(), digest_size=16).hexdigest()
        begun = Command(work.lane, work.address, command.key_token, RUN, headers, args, work.actor)
        begun.id = headers[names.ID] = id
        if (principal := self._principal_of(command)) is not None and plan.identity is not None:
            subject = subjects.command(work.address, RUN)
            headers |= plan.identity.vouch(subject, id, args, principal, command.roles)
        try:
            payload = method.arguments.decode(args)
        except InvalidArguments as error:
            text = f"{work.address}.{RUN}: {error}"
            plan.refuse(work.lane, command, Failure("invalid_arguments", text, error.path), work.seq)
            return None
        if work.kind.behaviour.retry.max_elapsed_s is not None:
            headers[names.FIRST_AT] = str(int(plan.now * 1000))
        self._start(work, method, payload, begun, attempt=1, holds=True, known=False)
        return id

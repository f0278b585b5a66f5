"""What a batch will have done once it is committed: the rows to write, and what follows the commit.

A plan never touches what the pod holds in memory. It is thrown away when the commit fails, and nothing needs undoing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.errors import UnreadableEvent
from runtime.host import runs
from runtime.host.answers import NULL, Answer, answer, answered, ended, fact, fact_row, failure_json
from runtime.host.command import Command, to_pending
from runtime.host.ports import (
    ActorRow,
    Changes,
    DeadLetterRow,
    EventRow,
    InboxEntry,
    InboxRow,
    OutboxRow,
    PauseRow,
    PendingRow,
    PendingState,
    PendingUpdate,
    Refusal,
    RefusedRow,
    TimerRow,
)
from runtime.kind import SYSTEM_EVENT_PREFIX, Kind, NewEvent, StoredEvent, made_of
from runtime.limits import KEY as LIMITER_KEY
from runtime.sent import SetTimer
from runtime.turn import Turn
from schemas import control, subjects
from schemas import headers as names
from schemas.address import Address
from schemas.wire import Failure

if TYPE_CHECKING:
    from runtime.ambient.metrics import Metrics
    from runtime.host.identity import Identity
    from runtime.host.items import Expire, Next, Promise, Rerun, Start, Step, Touch
    from runtime.host.lane import Lane
    from runtime.mail import Said

_encode = msgspec.json.Encoder().encode

_PASSED = (names.TRACEPARENT, names.CORRELATION)
_TOLD = (*_PASSED, names.SESSION)


class Work:
    """An actor during a batch: as committed, plus what the batch has done with it so far.

    `held` counts the pending commands that hold its key. `unreadable` says why its log cannot be folded; `loading` that
    its tail is too long to be loaded inside a commit.
    """

    __slots__ = (
        "actor",
        "address",
        "base_seq",
        "held",
        "kind",
        "lane",
        "loading",
        "paused",
        "saved_seq",
        "seq",
        "state",
        "unreadable",
    )

    def __init__(self, lane: Lane, actor: str, address: Address, kind: Kind) -> None:
        self.lane = lane
        self.actor = actor
        self.address = address
        self.kind = kind
        self.state: Any = None
        self.seq = self.base_seq = self.saved_seq = 0
        self.held = lane.held.get(actor, 0)
        self.paused = actor in lane.paused
        self.unreadable: UnreadableEvent | None = None
        self.loading = False


class Plan:
    """The rows of a batch and what follows its commit.

    Attributes:
        now, monotonic: the batch's time (Unix seconds), and a clock to measure with. `identity` proves who sends.
        changes: what is written.
        works: the actors it touched. `counted`: what its handlers have counted.
        answers: replies to publish after the commit.
        starts: executions to start after the commit; `trial` is the one of them that may have ended a process before,
            `put_off` what must not be tried at the same time, and `trying` whether such a trial goes on already.
        reruns: commands that do not hold their key, with the seconds after which they run again.
        wake: actor → seconds after which its pending commands go on (0: at once).
        inbox, refused: answers and refusals of this very batch, so that a repeat in it is found too.
        refusing: lanes with refusals.
        timers: fire ids of timers that this batch has set; None for those it has fired or cancelled.
        ended: pending commands that were ended by what was said of them: they do not go on.
        gone_on: pending commands that this batch went on with, each once.
        nexts: actors whose pending commands this batch went on with: what was found in the log is used once.
        resolved: dead letters that this batch replays or drops.
        positions, ords: lane → last log position and outbox number.
        promises: (who waits, value) to resolve after the commit.
        said: messages for executions, which hear of them after the commit.
        stopped: executions (actor, command id) that this batch has ended; what still runs of them is stopped.
        expiring: runs with a time-out, and when it is over (Unix seconds).
        touches: those who wait for an actor to be loaded; steps_again: steps that do, and are tried again soon.
        abandoned: set when the batch was planned again without this plan; its thread stops at the next item.
    """

    def __init__(
        self,
        now: float,
        monotonic: Callable[[], float],
        *,
        trying: bool = False,
        identity: Identity | None = None,
    ) -> None:
        self.identity = identity
        self.now = now
        self.monotonic = monotonic
        self.trying = trying
        self.trial: Start | None = None
        self.put_off: list[Next | Rerun] = []
        self.changes = Changes()
        self.works: dict[str, Work] = {}
        self.answers: list[Answer] = []
        self.starts: list[Start] = []
        self.counted: list[Metrics] = []
        self.wake: dict[tuple[Lane, str], float] = {}
        self.reruns: list[tuple[Lane, PendingRow, float]] = []
        self.inbox: dict[tuple[str, str], InboxRow] = {}
        self.refused: dict[tuple[str, str], list[Refusal]] = {}
        self.refusing: set[Lane] = set()
        self.pending: dict[tuple[str, str], int] = {}
        self.timers: dict[tuple[str, str], str | None] = {}
        self.ended: set[tuple[str, str]] = set()
        self.gone_on: set[tuple[str, str]] = set()
        self._updated: dict[tuple[str, str], int] = {}
        self.nexts: set[str] = set()
        self.resolved: set[int] = set()
        self.positions: dict[Lane, int] = {}
        self.ords: dict[Lane, int] = {}
        self.outbox: dict[Lane, list[OutboxRow]] = {}
        self.promises: list[tuple[Promise, Any]] = []
        self.said: list[tuple[Lane, str, Said]] = []
        self.stopped: list[tuple[Lane, tuple[str, str]]] = []
        self.expiring: list[tuple[Expire, float]] = []
        self.touches: list[Touch] = []
        self.steps_again: list[Step] = []
        self.next_due: float | None = None
        self.turns = 0
        self.parked = 0
        self.repeated = 0
        self.abandoned = False

    # -- events ---------------------------------------------------------------------------------------------------

    def append(
        self, work: Work, command: Command, events: list[NewEvent], principal: str | None, run: str | None = None
    ) -> None:
        """Adds events to the actor's log, and to its session's stream when the command has one.

        `run`: they belong to the execution of that command, and this one is their cause.
        """
        lane, tenant = work.lane, work.address.tenant
        if work.seq == 0 and events:
            key = work.address.key
            self.changes.actors.append(ActorRow(work.actor, tenant, work.address.kind, key, lane.lane, lane.partition))
        position = self.positions.get(lane, lane.position)
        headers = command.headers
        session = headers.get(names.SESSION)
        for event in events:
            work.seq += 1
            position += 1
            row = (
                work.actor,
                work.seq,
                lane.lane,
                position,
                lane.partition,
                event.version,
                lane.epoch,
                tenant,
                event.type,
                command.id if run is None else run,
                session,
                headers.get(names.CAUSATION) if run is None else command.id,
                headers.get(names.CORRELATION),
                principal,
                event.payload,
            )
            self.changes.events.append(made_of(EventRow, row))
            if session is not None:
                place = f"{lane.lane}:{position}"
                entry = fact(command, "event", event.type, work.seq, self.now, event.payload.encode(), place, run)
                # In a log that was restored other events may have these sequences: their facts are other facts.
                self._post_fact(command, lane, entry, f"{work.actor}-{work.seq}-{lane.epoch}:{position}-{command.id}")
        self.positions[lane] = position

    def system_event(self, work: Work, command: Command, name: str, payload: Mapping[str, Any]) -> None:
        """Adds an event of the engine's own to the actor's log; only the fold of a kind that watches for it sees it."""
        self.record(work, command, name, _encode(payload).decode())

    def record(self, work: Work, command: Command, name: str, text: str, run: str | None = None) -> None:
        """The same, its payload given as JSON. For `run` see `append`."""
        event = NewEvent(SYSTEM_EVENT_PREFIX + name, 1, text)
        self.append(work, command, [event], None, run)
        if name in work.kind.watches and not work.loading and work.unreadable is None:
            work.state = work.kind.fold(work.state, [StoredEvent(work.seq, *event)])

    # -- outcomes -------------------------------------------------------------------------------------------------

    def succeed(self, work: Work, command: Command, result: bytes) -> None:
        """Records the result for repeats, and answers."""
        self._record(work, command, False, result)
        self._answer(command, work.seq, result)
        if command.session is not None:
            entry = fact(command, "result", command.method, work.seq, self.now, result)
            self._post_fact(command, work.lane, entry, f"{work.actor}-{command.id}-result-{work.lane.epoch}")

    def fail(self, work: Work, command: Command, failure: Failure) -> None:
        """Records a failure for repeats, and answers."""
        self._record(work, command, True, failure_json(failure))
        self.tell(work.lane, command, failure, work.seq)

    def refuse(self, lane: Lane, command: Command, failure: Failure, seq: int = 0) -> None:
        """Refuses this very command for good, and answers; its id stays free for another one."""
        text = failure_json(failure).decode()
        fingerprint = command.fingerprint(failure.code)
        self.changes.refused.append(
            RefusedRow(
                command.actor, command.id, fingerprint, command.digest, lane.partition, seq, failure.code, text
            )
        )  # fmt: skip
        refusal = Refusal(fingerprint, failure.code, seq, text)
        self.refused.setdefault((command.actor, command.id), []).append(refusal)
        self.refusing.add(lane)
        self.tell(lane, command, failure, seq)

    def refuse_again(self, command: Command, found: Mapping[tuple[str, str], list[Refusal]]) -> bool:
        """Answers a command that was refused before with the same refusal; False when it was not."""
        place = (command.actor, command.id)
        for refusal in (*found.get(place, ()), *self.refused.get(place, ())):
            if refusal.fingerprint == command.fingerprint(refusal.code):
                self.repeated += 1
                failure = msgspec.json.decode(refusal.failure, type=Failure)
                self._answer(command, refusal.seq, NULL, failure, repeated=True)
                return True
        return False

    def tell(self, lane: Lane, command: Command, failure: Failure, seq: int = 0) -> None:
        """Answers with a failure, without a trace in the log."""
        self._answer(command, seq, NULL, failure)
        if command.session is not None:
            entry = fact(command, "error", command.method, seq, self.now, failure_json(failure))
            self._post_fact(command, lane, entry, f"{command.actor}-{command.id}-error-{command.attempts}")

    def repeat(self, command: Command, entry: InboxEntry | InboxRow) -> None:
        """Answers a repeat with what was recorded; the same id with other arguments is refused."""
        self.repeated += 1
        if entry.digest != command.digest:
            failure = Failure(
                "id_reused",
                f"id {command.id!r} was used on {command.address} before, with another method or other arguments: "
                "use a new id",
            )
            self._answer(command, entry.seq, NULL, failure)
        elif entry.failed:
            failure = msgspec.json.decode(entry.result, type=Failure)
            self._answer(command, entry.seq, NULL, failure, repeated=True)
        else:
            self._answer(command, entry.seq, entry.result.encode(), repeated=True)

    def _record(self, work: Work, command: Command, failed: bool, result: bytes) -> None:
        text = result.decode()
        values = (work.actor, command.id, work.seq, work.lane.lane, command.digest, failed, text)
        row = made_of(InboxRow, values)
        self.changes.inbox.append(row)
        self.inbox[work.actor, command.id] = row

    def _answer(
        self, command: Command, seq: int, result: bytes, failure: Failure | None = None, *, repeated: bool = False
    ) -> None:
        reply = answer(command, seq, result, failure, repeated=repeated)
        if reply is not None:
            self.answers.append(reply)
        if names.ANSWER in command.headers:
            self._answer_run(command, result, failure)
        if names.THEN in command.headers:
            self._answer_then(command, result, failure)
        if names.PERMIT in command.headers:
            self._release(command)

    def _answer_run(self, command: Command, result: bytes, failure: Failure | None) -> None:
        """Answers an execution that asked: by outbox, so that it comes to whatever pod runs it then."""
        address, run = control.parse_return_address(command.address.tenant, command.headers[names.ANSWER])
        body = answered(run, command, result, failure)
        # Two answers to one question are the same, or one is a refusal: then the first one counts.
        id = blake2b(f"{command.actor}/{command.id}/answer".encode() + body, digest_size=16).hexdigest()
        passed = {name: command.headers[name] for name in _PASSED if name in command.headers}
        block = _encode(passed | {names.CAUSATION: command.id, names.ID: id}).decode()
        self._post(command.lane, id, subjects.command(address, control.ANSWER), block, body)

    def _release(self, command: Command) -> None:
        """Gives back the permit of a run that has ended, see runtime.limits."""
        tenant, _, key = command.address
        id = blake2b(f"{command.actor}/{command.id}/permit".encode(), digest_size=16).hexdigest()
        subject = subjects.command(Address(tenant, command.headers[names.PERMIT], LIMITER_KEY), "release")
        block = _encode({names.CAUSATION: command.id, names.ID: id}).decode()
        self._post(command.lane, id, subject, block, _encode({"key": key, "run": command.id}))

    def _answer_then(self, command: Command, result: bytes, failure: Failure | None) -> None:
        """Tells the actor that sent a command what became of it: once, however often the command is repeated."""
        address, method = control.parse_then_address(command.address.tenant, command.headers[names.THEN])
        body = ended(command, result, failure)
        id = blake2b(f"{command.actor}/{command.id}/then/{method}".encode() + body, digest_size=16).hexdigest()
        passed = {name: command.headers[name] for name in _TOLD if name in command.headers}
        passed |= names.travelling(command.headers) | {names.CAUSATION: command.id, names.ID: id}
        subject = subjects.command(address, method)
        if self.identity is not None:
            principal = self.identity.principal_of(command)
            passed |= self.identity.prove(command.address, subject, id, body)
            if command.sender == address:  # no signature covers where this goes: else it would be anybody's choice
                passed |= self.identity.hand_on(subject, id, body, principal, command.roles)
        self._post(command.lane, id, subject, _encode(passed).decode(), body)

    # -- what a turn asked for ------------------------------------------------------------------------------------

    def carry(self, work: Work, command: Command, turn: Turn) -> None:
        """Turns what the handler asked of its context into rows: messages to others, and timers."""
        headers = command.headers
        passed = names.travelling(headers)
        if names.SESSION in headers:
            passed[names.SESSION] = headers[names.SESSION]
        passed[names.CORRELATION] = headers.get(names.CORRELATION, command.id)
        passed[names.CAUSATION] = command.id
        for number, message in enumerate(turn.messages):
            digest = blake2b(f"{work.actor}/{command.id}/{number}".encode(), digest_size=16).hexdigest()
            own = {names.ID: message.id or digest}
            if message.then is not None:
                own[names.THEN] = control.then_address(work.address, message.then)
            subject = subjects.command(message.address, message.method)
            if self.identity is not None:
                own |= self.identity.prove(work.address, subject, own[names.ID], message.body)
                caller = message.caller or turn
                own |= self.identity.hand_on(subject, own[names.ID], message.body, caller.principal, caller.roles)
            block = _encode(passed | own).decode()
            self._post(work.lane, digest, subject, block, message.body)
        for timer in turn.timers:
            place = (work.actor, timer.name)
            if isinstance(timer, SetTimer):
                fire_id = blake2b(f"{work.actor}/{timer.name}/{command.id}".encode(), digest_size=16).hexdigest()
                subject, given = subjects.command(work.address, timer.method), passed
                if self.identity is not None:
                    given = passed | self.identity.hand_on(subject, fire_id, timer.body, turn.principal, turn.roles)
                headers_row = _encode(given).decode()
                self.set_timer(work, timer.name, timer.due_at, fire_id, timer.method, headers_row, timer.body)
            else:
                self.timers[place] = None
                self.changes.timers.pop(place, None)
                self.changes.timers_done.append(place)

    def set_timer(
        self, work: Work, name: str, due_at: float, fire_id: str, method: str, headers: str, body: bytes
    ) -> None:
        """Sets an actor's timer, in place of the one of that name."""
        place, (tenant, kind, key) = (work.actor, name), work.address
        self.timers[place] = fire_id
        self.changes.timers[place] = TimerRow(
            work.actor, name, work.lane.lane, due_at, fire_id, tenant, kind, key, method, headers, body
        )
        self.next_due = due_at if self.next_due is None else min(self.next_due, due_at)

    def cancel_run(self, work: Work, command: Command, run: str) -> None:
        """Cancels the actor's run that `command` is to replace, by a message to the actor itself."""
        id = blake2b(f"{work.actor}/{command.id}/replaces/{run}".encode(), digest_size=16).hexdigest()
        block = _encode({names.CAUSATION: command.id, names.ID: id}).decode()
        body = _encode(control.Cancel(run, f"command {command.id} replaces it"))
        self._post(work.lane, id, subjects.command(work.address, control.CANCEL), block, body)

    def _post(self, lane: Lane, message_id: str, subject: str, headers: str, body: bytes) -> None:
        ord_ = self.ords[lane] = self.ords.get(lane, lane.outbox_ord) + 1
        self._keep(lane, OutboxRow(lane.lane, ord_, message_id, subject, headers, body))

    def _post_fact(self, command: Command, lane: Lane, entry: Any, message_id: str) -> None:
        ord_ = self.ords[lane] = self.ords.get(lane, lane.outbox_ord) + 1
        self._keep(lane, fact_row(command, lane.lane, ord_, entry, message_id))

    def _keep(self, lane: Lane, row: OutboxRow) -> None:
        self.changes.outbox.append(row)
        self.outbox.setdefault(lane, []).append(row)

    def accepted(self, work: Work, command: Command) -> None:
        """Tells the session that the command is durable and runs."""
        if command.session is not None:
            entry = fact(command, "accepted", command.method, work.seq, self.now, NULL)
            self._post_fact(command, work.lane, entry, f"{work.actor}-{command.id}-accepted")

    # -- held keys ------------------------------------------------------------------------------------------------

    def fire(self, command: Command, found: Mapping[tuple[str, str], str]) -> bool:
        """Takes a timer's row with its command's turn. Without the row there is no turn: it was cancelled, or replaced.

        `found` are the fire ids of the timers that are set.
        """
        place = command.timer
        assert place is not None
        if self.timers.get(place, found.get(place)) != command.id:
            return False
        self.changes.timers_done.append(place)
        self.timers[place] = None
        return True

    def unfire(self, command: Command) -> None:
        """Leaves the row for later: the command waits for its turn, and until then its timer can be cancelled."""
        if command.timer is not None:
            self.changes.timers_done.remove(command.timer)
            self.timers[command.timer] = command.id

    def defer(self, work: Work, command: Command) -> None:
        """Lets a command wait behind its key."""
        self.unfire(command)
        runs.accept(self, work, command, to_pending(command, "waiting", holds=True, attempts=command.attempts))
        self.pending[work.actor, command.id] = command.digest
        work.held += 1

    def update(
        self,
        actor: str,
        command_id: str,
        state: PendingState,
        attempts: int,
        due_at: float | None = None,
        error: str | None = None,
        *,
        holds: bool | None = None,
    ) -> None:
        """Changes a pending row. Of several changes of one row the last counts; `holds` is whether it takes its key."""
        updates = self.changes.pending_updates
        at = self._updated.setdefault((actor, command_id), len(updates))
        if holds is None and at < len(updates):
            holds = updates[at].holds
        updates[at : at + 1] = [PendingUpdate(actor, command_id, state, attempts, due_at, error, holds)]

    def go_on(self, lane: Lane, row: PendingRow, delay_s: float) -> None:
        """Lets a pending command go on after so many seconds, or earlier if that was decided before."""
        if row.holds:
            place = (lane, row.actor)
            self.wake[place] = min(delay_s, self.wake.get(place, delay_s))
        else:
            self.reruns.append((lane, row, delay_s))

    def park(self, work: Work, command: Command, failure: Failure, attempts: int, *, to_log: bool = True) -> None:
        """Keeps a command for a person to see, and answers its caller. `to_log` adds the fact to the actor's log."""
        self.parked += 1
        tenant, kind, key = command.address
        message = failure.message.replace("\0", "\\0")
        self.changes.dead_letters.append(
            DeadLetterRow(
                work.actor, work.lane.lane, tenant, kind, key, command.method, command.id, command.headers_json(),
                command.body, failure.code, message, attempts,
            )
        )  # fmt: skip
        if to_log and not work.loading:  # before it is loaded nobody knows the next sequence number
            payload = {"command_id": command.id, "method": command.method, "code": failure.code, "error": message}
            self.system_event(work, command, "parked", payload | {"attempts": attempts})
        self.fail(work, command, failure)

    def pause(self, work: Work, command: Command, reason: str, by: str | None) -> None:
        """Stops the key until a person resumes it."""
        tenant = work.address.tenant
        self.changes.paused[work.actor] = PauseRow(work.actor, tenant, work.lane.lane, reason, by)
        self.changes.resumed = [actor for actor in self.changes.resumed if actor != work.actor]
        self.system_event(work, command, "paused", {"reason": reason, "by": by})
        work.paused = True

"""Turns: what each item of a batch does to its actor.

Runs in the turn thread, on a Plan; touches nothing that the event loop's own tasks change. Every way a handler can fail
ends here in a fact: answered, tried again later, or parked.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from runtime.arguments import InvalidArguments
from runtime.errors import BadResult, Rejected, UnreadableEvent
from runtime.failure import CYCLE, failure_of, is_cycle, text_of
from runtime.host import handling
from runtime.host.asking import cycle_of
from runtime.host.command import Command, from_pending, to_pending
from runtime.host.items import Anchor, Finished, HandedOver, Item, Next, Order, Rerun, Sent, Start, Touch
from runtime.host.plan import Plan, Work
from runtime.host.ports import TAIL_LIMIT, Found, LogUnavailable, PendingRow, PendingUpdate
from runtime.kind import Decision, Execution, Kind, Method, Read
from runtime.turn import Turn
from schemas import headers as names
from schemas.address import Address
from schemas.wire import Failure

if TYPE_CHECKING:
    from runtime.host.lane import Activation, Lane

_log = logging.getLogger("troupe.turns")

LOOK_AGAIN_S = 0.1

FOLDING_S = 0.25
"""Seconds of folding in one batch after which its other actors are loaded beside the turns."""

SHORT_TAIL = 64
"""Events that are folded within the batch all the same: asking the log for them again would take longer."""


@dataclasses.dataclass(slots=True)
class Running:
    """What the turn thread is doing, for the watcher that waits for it. `loading` is the actor being folded."""

    item: Item | None = None
    command: Command | None = None
    method: Method | None = None
    kind: str = ""
    loading: str | None = None


class Turns:
    """Runs the items of one batch into a plan.

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
        self._activations = activations
        self._found = found
        self._plan = plan
        self._isolated = isolated
        self._outside = outside
        self._principal_of = principal_of
        self._random = random
        self._folding_s = 0.0
        self.running = Running()

    def run(self, items: Sequence[Item]) -> None:
        """Runs the items in order."""
        running, plan = self.running, self._plan
        handling.turns(running)
        for item in items:
            if plan.abandoned:
                return
            running.item, running.method = item, None
            if type(item) is Command:
                self._command(item)
            elif isinstance(item, Next):
                self._next(item)
            elif isinstance(item, Rerun):
                self._rerun(item)
            elif isinstance(item, Finished):
                self._finished(item)
            elif isinstance(item, Touch):
                self._touch(item)
            elif isinstance(item, Sent):
                plan.changes.outbox_done.append((item.lane.lane, item.ord))
            elif isinstance(item, Order):
                self._order(item)
            else:
                assert isinstance(item, Anchor)  # only moves the checkpoint, which the fence does
        running.item = running.command = None

    def progress(self) -> object:
        """A value that changes with every turn and every actor that is loaded."""
        return self.running.item, self._plan.turns, len(self._plan.works)

    # -- actors ---------------------------------------------------------------------------------------------------

    def work(self, lane: Lane, actor: str, address: Address) -> Work:
        """The actor as this batch sees it so far."""
        work = self._plan.works.get(actor)
        if work is None:
            work = self._plan.works[actor] = self._load(lane, actor, address)
        return work

    def _load(self, lane: Lane, actor: str, address: Address) -> Work:
        kind = self._kinds[address.kind]
        work = Work(lane, actor, address, kind)
        active = self._activations.get(actor)
        if active is not None:
            work.state, work.seq, work.saved_seq = active.state, active.seq, active.saved_seq
            work.unreadable = active.unreadable
        else:
            snapshot, tail = self._found.snapshots.get(actor), self._found.tails.get(actor, [])
            if self._loads_outside(actor, len(tail)):
                work.loading = True
                return work
            self.running.loading = actor
            began = time.perf_counter()
            try:
                state = kind.initial()
                if snapshot is not None:
                    try:
                        state = kind.decode_state(snapshot[1].encode())
                    except Exception:  # the log says the same, and from its beginning it is loaded outside
                        work.loading, self.running.loading = True, None
                        return work
                    work.seq = work.saved_seq = snapshot[0]
                work.state = kind.fold(state, tail)
            except UnreadableEvent as error:
                work.unreadable = UnreadableEvent(f"{address}: {error}")
            except BaseException as error:
                work.unreadable = UnreadableEvent(f"{address}: the fold failed on its log: {error!r}")
            self.running.loading = None
            self._folding_s += time.perf_counter() - began
            if tail:
                work.seq = tail[-1].seq
        work.base_seq = work.seq
        return work

    def _loads_outside(self, actor: str, events: int) -> bool:
        """Whether an actor is loaded beside the turns: its fold may keep the batch's transaction open too long."""
        if events > TAIL_LIMIT or (events and (self._outside is None or actor in self._outside)):
            return True
        return events > SHORT_TAIL and self._folding_s > FOLDING_S

    # -- commands -------------------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        plan, found = self._plan, self._found
        place = (command.actor, command.id)
        if command.timer is not None:
            if plan.timers.get(command.timer, found.timers.get(command.timer)) != command.id:
                return  # cancelled or replaced meanwhile, or in this very batch: no row, no effect
            plan.changes.timers_done.append(command.timer)
            plan.timers[command.timer] = None
        if (found.refused or plan.refused) and plan.refuse_again(command, found.refused):
            return
        recorded = plan.inbox.get(place) or found.inbox.get(place)
        if recorded is not None:
            plan.repeat(command, recorded)
            return
        waiting = plan.pending.get(place, found.pending.get(place))
        if waiting is not None:
            if waiting != command.digest:
                failure = Failure("id_reused", f"id {command.id!r} is pending with other arguments")
                plan.tell(command.lane, command, failure)
            return  # it is on its way: its caller will be answered
        kind = self._kinds.get(command.address.kind)
        if kind is None or (command.problem is not None and not command.parks):
            failure = command.problem or Failure("unknown_kind", f"no pod serves kind {command.address.kind!r}")
            plan.refuse(command.lane, command, failure)
            return
        work = self.work(command.lane, command.actor, command.address)
        if command.problem is not None:
            plan.park(work, command, command.problem, 0, to_log=False)
        elif self._expired(command):
            plan.refuse(work.lane, command, Failure("expired", f"the deadline of {command} passed before its turn"))
        elif command.doomed:
            self._doom(work, command, command.doomed, command.attempts)
        else:
            self._accept(work, kind, command)

    def _accept(self, work: Work, kind: Kind, command: Command) -> None:
        plan = self._plan
        method = kind.methods.get(command.method)
        if method is None:
            known = ", ".join(sorted(kind.methods)) or "none"
            text = f"kind {kind.name!r} has no method {command.method!r}; it has {known}"
            plan.refuse(work.lane, command, Failure("unknown_method", text))
            return
        if work.held and method.exclusive and (reason := cycle_of(command)) is not None:
            plan.refuse(work.lane, command, Failure(CYCLE, reason), work.seq)
            return
        if work.loading or (method.exclusive and (work.held or work.paused)):
            plan.defer(work, command)
            if work.loading:
                plan.wake[work.lane, work.actor] = 0.0
            return
        if work.unreadable is not None:
            plan.park(work, command, Failure("unreadable_log", str(work.unreadable)), 0, to_log=False)
            return
        payload = self._payload(work, method, command)
        if payload is None:
            return
        # Flavors are compared instead of types: isinstance() of an abstract class is ten times slower.
        blocks = bool(self._isolated) and self._blocks(kind, method)
        if method.flavor == "query" and not blocks:
            self._read(work, cast("Read", method), payload.value, command)
        elif method.flavor == "command" and not blocks:
            self._decide(work, cast("Decision", method), payload.value, command)
        else:
            self._start(work, method, payload.value, command, attempt=1, holds=method.exclusive, known=False)

    def _payload(self, work: Work, method: Method, command: Command) -> _Payload | None:
        try:
            return _Payload(method.arguments.decode(command.body, command.content_type))
        except InvalidArguments as error:
            text = f"{command.address}.{command.method}: {error}"
            self._plan.refuse(work.lane, command, Failure("invalid_arguments", text, error.path), work.seq)
        return None

    def _expired(self, command: Command) -> bool:
        deadline = command.headers.get(names.DEADLINE)
        return deadline is not None and int(deadline) < self._plan.now * 1000

    def _turn(self, work: Work, command: Command, attempt: int) -> Turn:
        headers = command.headers
        return Turn(
            work.address,
            command.id,
            work.seq,
            self._plan.now,
            attempt=attempt,
            principal=self._principal_of(command),
            session=headers.get(names.SESSION),
            correlation_id=headers.get(names.CORRELATION),
            headers=headers,
        )

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
        work.state = decided.state
        if turn.messages or turn.timers:
            plan.carry(work, command, turn)
        plan.succeed(work, command, decided.result)
        return True

    # -- failure --------------------------------------------------------------------------------------------------

    def _failed(
        self, work: Work, command: Command, error: BaseException, attempt: int, *, holds: bool, known: bool
    ) -> bool:
        """Settles a failed attempt. `known`: the command has a pending row. True when it is done with."""
        plan, policy = self._plan, work.kind.behaviour.retry
        if isinstance(error, Rejected):
            plan.fail(work, command, failure_of(error, command))
            return True
        hopeless = isinstance(error, (BadResult, *policy.never)) or is_cycle(error)
        if attempt < policy.max_attempts and not hopeless:
            delay = policy.delay_s(attempt, self._random())
            text = text_of(error)
            _log.warning("attempt %d of %s failed, the next one is in %.2f s: %s", attempt, command, delay, text)
            due_at = plan.now + delay
            if known:
                plan.changes.pending_updates.append(
                    PendingUpdate(work.actor, command.id, "backoff", attempt, due_at, text)
                )
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

    # -- pending commands -----------------------------------------------------------------------------------------

    def _next(self, item: Next) -> None:
        plan = self._plan
        rows = self._found.next_pending.get(item.actor, [])
        if not rows or item.actor in plan.nexts or plan.wake.get((item.lane, item.actor), 0.0) > 0:
            return
        plan.nexts.add(item.actor)
        work = self.work(item.lane, item.actor, Address(*rows[0][3:6]))
        if work.paused:
            return
        if work.loading:
            plan.wake[item.lane, item.actor] = 0.0
            return
        for row in rows[:1] if item.alone else rows:
            if work.paused or (row.actor, row.command_id) in item.lane.active:
                return
            if not self._go_on(work, row, item.doomed):
                return
        if work.held:
            plan.wake[item.lane, item.actor] = 0.0

    def _rerun(self, item: Rerun) -> None:
        work = self.work(item.lane, item.row.actor, Address(*item.row[3:6]))
        if work.loading:
            self._plan.reruns.append((item.lane, item.row, LOOK_AGAIN_S))
        else:
            self._go_on(work, item.row, item.doomed)

    def _go_on(self, work: Work, row: PendingRow, doomed: str) -> bool:
        """Tries a pending command, or parks a doomed one. True when it is done with, so that the next one may run."""
        plan = self._plan
        command = from_pending(work.lane, row)
        method = work.kind.methods.get(row.method)
        if row.due_at is not None and row.due_at > plan.now + 0.001:
            if row.holds:
                plan.wake[work.lane, work.actor] = row.due_at - plan.now
            else:
                plan.reruns.append((work.lane, row, row.due_at - plan.now))
            return False
        done = False
        if doomed:
            self._doom(work, command, doomed, row.attempts)
            done = True
        elif work.unreadable is not None:
            plan.park(work, command, Failure("unreadable_log", str(work.unreadable)), row.attempts, to_log=False)
            done = True
        elif method is None:
            text = f"kind {work.kind.name!r} has no method {row.method!r}"
            plan.refuse(work.lane, command, Failure("unknown_method", text), work.seq)
            done = True
        elif row.state == "running" and row.attempts >= max(work.kind.behaviour.retry.max_attempts, 3):
            text = f"the process died {row.attempts} times while {command} ran: see the handler before you replay it"
            plan.park(work, command, Failure("handler_failed", text), row.attempts)
            done = True
        else:
            payload = self._payload(work, method, command)
            if payload is None:
                done = True
            elif (
                isinstance(method, Decision)
                and row.state != "running"
                and not self._blocks(work.kind, method)
                # After an unclean death it may be this one that kills its process: run as an execution, it is counted.
                and not work.lane.careful
            ):
                done = self._decide(work, method, payload.value, command, row)
            else:
                # As its row says: one that needs no key of its own may hold it (it waited for a load, or is a replay).
                self._start(
                    work, method, payload.value, command, attempt=row.attempts + 1, holds=row.holds, known=True
                )
        if done:
            plan.changes.pending_done.append((work.actor, command.id))
            work.held -= row.holds
        return done

    def _doom(self, work: Work, command: Command, why: str, attempts: int) -> None:
        """Parks a command for what happened outside its handler."""
        _log.error("parked %s: %s", command, why)
        self._plan.park(work, command, Failure("handler_failed", f"{command}: {why}"), attempts)

    def _blocks(self, kind: Kind, method: Method) -> bool:
        return (kind.name, method.name) in self._isolated

    # -- executions -----------------------------------------------------------------------------------------------

    def _start(
        self, work: Work, method: Method, payload: Any, command: Command, *, attempt: int, holds: bool, known: bool
    ) -> None:
        """Accepts an execution; it is started after the commit."""
        plan = self._plan
        if known:
            plan.changes.pending_updates.append(PendingUpdate(work.actor, command.id, "running", attempt, None, None))
        else:
            plan.changes.pending.append(to_pending(command, "running", holds=holds, attempts=attempt))
            plan.pending[work.actor, command.id] = command.digest
            if holds:
                work.held += 1
            plan.accepted(work, command)
        turn = self._turn(work, command, attempt)
        isolated = not isinstance(method, Execution)
        plan.starts.append(Start(command, work.kind, payload, turn, work.state, attempt, holds, isolated))

    def _finished(self, item: Finished) -> None:
        plan, command, turn = self._plan, item.command, item.turn
        work = self.work(item.lane, command.actor, command.address)
        plan.turns += 1
        if isinstance(item.error, HandedOver):
            update = PendingUpdate(work.actor, command.id, "waiting", turn.attempt - 1, None, None)
            plan.changes.pending_updates.append(update)
            return
        if item.doomed:
            done = self._failed(work, command, BadResult(item.doomed), turn.attempt, holds=item.holds, known=True)
        elif item.decided is not None:
            if item.decided.events:
                plan.append(work, command, item.decided.events, turn.principal)
                work.state = item.decided.state
            if turn.messages or turn.timers:
                plan.carry(work, command, turn)
            plan.succeed(work, command, item.decided.result)
            done = True
        else:
            assert item.error is not None
            done = self._failed(work, command, item.error, turn.attempt, holds=item.holds, known=True)
        if done:
            plan.changes.pending_done.append((work.actor, command.id))
            if item.holds:
                work.held -= 1
                if work.held and not work.paused:
                    plan.wake[item.lane, work.actor] = 0.0

    # -- the engine's own -----------------------------------------------------------------------------------------

    def _touch(self, item: Touch) -> None:
        work = self.work(item.lane, item.actor, item.address)
        if work.loading:
            self._plan.touches.append(item)
        elif work.unreadable is not None:
            self._plan.promises.append((item.answered, work.unreadable))
        else:
            self._plan.promises.append((item.answered, (work.state, work.seq)))

    def _order(self, item: Order) -> None:
        plan = self._plan
        work = self.work(item.lane, item.actor, item.address)
        if work.loading:
            plan.promises.append((item.answered, LogUnavailable(f"{item.address} is being loaded: ask again")))
            return
        if item.what in ("replay", "drop"):
            if item.dead_letter not in self._found.parked or item.dead_letter in plan.resolved:
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
            plan.defer(work, command)
            if not work.paused:
                plan.wake[item.lane, item.actor] = 0.0
        plan.promises.append((item.answered, {"seq": work.seq, "held": work.held, "paused": work.paused}))


class _Payload(msgspec.Struct):
    value: Any

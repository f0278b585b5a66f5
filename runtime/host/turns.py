"""Turns: what each item of a batch does to its actor.

Runs in the turn thread, on a Plan; touches nothing that the event loop's own tasks change. works.py gives the actors,
attempts.py runs their handlers, orders.py does what a person wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from runtime.failure import CYCLE
from runtime.host import controls, handling, later, orders, runs
from runtime.host.asking import cycle_of
from runtime.host.beginnings import Beginnings
from runtime.host.command import Command, from_pending, to_pending
from runtime.host.items import Anchor, Expire, Finished, Item, Next, Order, Rerun, Sent, Step, Touch
from runtime.host.plan import Work
from runtime.host.ports import LogUnavailable, PendingRow
from runtime.kind import Decision, Execution, Inquiry, Kind, Read
from schemas import headers as names
from schemas.address import Address
from schemas.control import METHODS
from schemas.wire import Failure

LOOK_AGAIN_S = 0.1

DEATHS_OF_EXECUTIONS = 5
"""Deaths of the process after which an execution that ran each time is parked.

One more than a command takes that is tried alone and parked after three: what runs for long beside it is not to blame.
"""


class Turns(Beginnings):
    """Runs the items of one batch into a plan. For its arguments see Attempts."""

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
            elif type(item) is Step:
                self._step(item)
            elif isinstance(item, Next):
                self._next(item)
            elif isinstance(item, Rerun):
                self._rerun(item)
            elif isinstance(item, Finished):
                self._finished(item)
            elif isinstance(item, Expire):
                self._expire(item)
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

    # -- commands -------------------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        plan, found = self._plan, self._found
        place = (command.actor, command.id)
        if command.timer is not None and not plan.fire(command, found.timers):
            return  # cancelled or replaced meanwhile, or in this very batch: no row, no effect
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
            plan.unfire(command)
            return  # it is on its way: its caller will be answered
        kind = self._kinds.get(command.address.kind)
        if kind is None or (command.problem is not None and not command.parks):
            failure = command.problem or Failure("unknown_kind", f"no pod serves kind {command.address.kind!r}")
            plan.refuse(command.lane, command, failure)
            return
        work = self._works.get(command.lane, command.actor, command.address)
        if command.problem is not None:
            plan.park(work, command, command.problem, 0, to_log=False)
        elif self._expired(command):
            plan.refuse(work.lane, command, Failure("expired", f"the deadline of {command} passed before its turn"))
        elif command.doomed:
            self._doom(work, command, command.doomed, command.attempts)
        elif command.method in METHODS:
            self._control(work, command)
        elif not (kind.watches and self._settled(work, kind, command)):
            self._accept(work, kind, command)

    def _control(self, work: Work, command: Command) -> None:
        """What is said to an execution does not wait for the key that it may hold."""
        if work.loading:
            row = to_pending(command, "waiting", holds=False, attempts=0)
            self._plan.changes.pending.append(row)
            self._plan.pending[work.actor, command.id] = command.digest
            self._plan.reruns.append((work.lane, row, LOOK_AGAIN_S))
        elif work.unreadable is not None:
            self._plan.park(work, command, Failure("unreadable_log", str(work.unreadable)), 0, to_log=False)
        else:
            self._told(work, command)

    def _accept(self, work: Work, kind: Kind, command: Command) -> None:
        plan = self._plan
        method = kind.methods.get(command.method)
        if method is None:
            known = ", ".join(sorted(kind.methods)) or "none"
            text = f"kind {kind.name!r} has no method {command.method!r}; it has {known}"
            plan.refuse(work.lane, command, Failure("unknown_method", text))
            return
        if method.limiter is not None:
            command.headers[names.PERMIT] = method.limiter
        if kind.behaviour.retry.max_elapsed_s is not None:
            command.headers[names.FIRST_AT] = str(int(plan.now * 1000))
        if later.is_wanted(method, command, plan.now):
            if self._payload(work, method, command) is not None:
                later.put_off(plan, work, method, command)
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
        if method.flavor == "query" and not blocks and not isinstance(method, Inquiry):
            self._read(work, cast("Read", method), payload.value, command)
        elif method.flavor == "command" and not blocks:
            self._decide(work, cast("Decision", method), payload.value, command)
        else:
            self._start(work, method, payload.value, command, attempt=1, holds=method.exclusive, known=False)

    def _settled(self, work: Work, kind: Kind, command: Command) -> bool:
        """Whether a command that would begin a run, or wait for one, is answered at once instead."""
        method = kind.methods.get(command.method)
        if not isinstance(method, Execution) or work.loading or work.unreadable is not None:
            return False
        payload = self._payload(work, method, command)
        return payload is None or self._admitted(work, method, command, payload.value).what in ("answer", "refuse")

    def _expired(self, command: Command) -> bool:
        deadline = command.headers.get(names.DEADLINE)
        return deadline is not None and int(deadline) < self._plan.now * 1000

    # -- pending commands -----------------------------------------------------------------------------------------

    def _next(self, item: Next) -> None:
        plan = self._plan
        rows = self._found.next_pending.get(item.actor, [])
        if not rows or item.actor in plan.nexts or plan.wake.get((item.lane, item.actor), 0.0) > 0:
            return
        plan.nexts.add(item.actor)
        work = self._works.get(item.lane, item.actor, Address(*rows[0][3:6]))
        if work.paused:
            return
        if work.loading:
            plan.wake[item.lane, item.actor] = 0.0
            return
        for at, row in enumerate(rows[:1] if item.alone else rows, 1):
            if (row.actor, row.command_id) in plan.ended:
                continue
            if work.paused:
                return
            if (row.actor, row.command_id) in item.lane.active or not self._go_on(work, row, item.doomed):
                self._replaced(work, rows[at:])
                return
        if work.held:
            plan.wake[item.lane, item.actor] = 0.0

    def _rerun(self, item: Rerun) -> None:
        place = (item.row.actor, item.row.command_id)
        row = controls.pending_row(self._plan, self._found, *place)
        if row is None or place in item.lane.active:
            return
        work = self._works.get(item.lane, row.actor, Address(*row[3:6]))
        if work.loading:
            self._plan.reruns.append((item.lane, row, LOOK_AGAIN_S))
        else:
            self._go_on(work, row, item.doomed)

    def _expire(self, item: Expire) -> None:
        """Ends a run whose time-out is over, wherever it is."""
        plan = self._plan
        row = controls.pending_row(plan, self._found, item.actor, item.command_id)
        if row is None or item.doomed:
            return
        work = self._works.get(item.lane, item.actor, item.address)
        failure, again_at = runs.overdue(row, plan.now)
        if work.loading or controls.accepted_now(plan, item.actor, item.command_id):
            again_at = plan.now + LOOK_AGAIN_S
        elif failure is not None:
            controls.end_run(plan, work, row, failure)
        if again_at is not None:
            plan.expiring.append((item, again_at))

    def _go_on(self, work: Work, row: PendingRow, doomed: str) -> bool:
        """Tries a pending command, or parks a doomed one. True when it is done with, so that the next one may run."""
        plan, place = self._plan, (row.actor, row.command_id)
        if place in plan.gone_on:
            return False
        command = from_pending(work.lane, row)
        method = work.kind.methods.get(row.method)
        if row.due_at is not None and row.due_at > plan.now + 0.001:
            if row.holds:
                # It was cancelled in this very batch if it is to go on at once.
                plan.wake.setdefault((work.lane, work.actor), row.due_at - plan.now)
            else:
                plan.reruns.append((work.lane, row, row.due_at - plan.now))
            return False
        if method is not None and method.exclusive and not row.holds and names.START_AT in command.headers:
            taken = later.take_key(plan, work, row)
            if taken is None:
                return False
            row = taken
        done = False
        plan.gone_on.add(place)
        blamed = row.state != "running" or place not in work.lane.excused
        if command.timer is not None and not plan.fire(command, self._found.timers):
            done = True  # cancelled or replaced while it waited
        elif self._is_over(work, command, row, doomed):
            done = True
        elif row.method in METHODS:
            done = self._told(work, command, row)
        elif method is None:
            text = f"kind {work.kind.name!r} has no method {row.method!r}"
            plan.refuse(work.lane, command, Failure("unknown_method", text), work.seq)
            done = True
        elif row.state == "running" and blamed and row.attempts >= max(
            work.kind.behaviour.retry.max_attempts, 3 if isinstance(method, Decision) else DEATHS_OF_EXECUTIONS
        ):
            text = f"the process died {row.attempts} times while {command} ran: see the handler before you replay it"
            plan.park(work, command, Failure("handler_failed", text), row.attempts)
            done = True
        else:
            payload = self._payload(work, method, command)
            if payload is None or (
                work.kind.watches
                and isinstance(method, Execution)
                and self._admitted(work, method, command, payload.value).what in ("answer", "refuse")
            ):
                done = True
            elif isinstance(method, Decision) and (work.lane.careful or row.state == "running"):
                self._try(work, method, payload.value, command, row)
            elif isinstance(method, Decision) and not self._blocks(work.kind, method):
                done = self._decide(work, method, payload.value, command, row)
            else:
                # As its row says: one that needs no key of its own may hold it (it waited for a load, or is a replay).
                attempt = row.attempts + blamed
                self._start(work, method, payload.value, command, attempt=attempt, holds=row.holds, known=True)
        if done:
            runs.end(plan, work, command, row.attempts, row)
            plan.changes.pending_done.append((work.actor, command.id))
            work.held -= row.holds
        return done

    def _is_over(self, work: Work, command: Command, row: PendingRow, doomed: str) -> bool:
        """Whether a pending command is not tried again; what it comes to is in the plan then."""
        overdue = runs.overdue(row, self._plan.now)[0] if row.expires_at is not None else None
        if overdue is not None:
            controls.fail_run(self._plan, work, command, overdue)
        elif doomed:
            self._doom(work, command, doomed, row.attempts)
        elif work.unreadable is not None:
            failure = Failure("unreadable_log", str(work.unreadable))
            self._plan.park(work, command, failure, row.attempts, to_log=False)
        else:
            return False
        return True

    def _try(self, work: Work, method: Decision, payload: Any, command: Command, row: PendingRow) -> None:
        """Puts a pending decision on trial, see runtime.host.trials: it runs as an execution, which is counted."""
        plan = self._plan
        if plan.trying or plan.trial is not None:
            plan.put_off.append(Next(work.lane, work.actor, work.kind.name) if row.holds else Rerun(work.lane, row))
            plan.unfire(command)
        else:
            self._start(work, method, payload, command, attempt=row.attempts + 1, holds=row.holds, known=True)
            plan.trial = plan.starts[-1]

    # -- the engine's own -----------------------------------------------------------------------------------------

    def _touch(self, item: Touch) -> None:
        work = self._works.get(item.lane, item.actor, item.address)
        if work.loading:
            self._plan.touches.append(item)
        elif work.unreadable is not None:
            self._plan.promises.append((item.answered, work.unreadable))
        else:
            self._plan.promises.append((item.answered, (work.state, work.seq)))

    def _order(self, item: Order) -> None:
        work = self._works.get(item.lane, item.actor, item.address)
        if work.loading:
            error = LogUnavailable(f"{item.address} is being loaded: ask again")
            self._plan.promises.append((item.answered, error))
        else:
            orders.carry_out(self._plan, self._found, work, item)

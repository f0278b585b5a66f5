"""The spans of a pod, made after each commit for those commands that carry a sampled trace context.

    wait      from stored by the broker until its batch began
    turn      the handler
    commit    the transaction of its batch, linked to the span of the whole batch
    reply     publishing the reply
    execution from accepted to finished, for handlers that may wait

A batch belongs to no single trace: it has a span of its own, linked to the turns it committed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer

from runtime.ambient.secrets import guard
from runtime.errors import Rejected
from runtime.host.items import Finished, HandedOver, Item
from runtime.host.turns import Turns
from runtime.suspension import Suspended
from runtime.telemetry.traces import context_of, is_sampled
from schemas import headers as names

if TYPE_CHECKING:
    from runtime.host.command import Command
    from runtime.host.observer import Marks
    from runtime.host.plan import Plan

LINKS = 128
"""More links than this a span drops anyway."""

MAX_RUNNING = 10_000


class Timed(NamedTuple):
    """One turn: its command, when it began and ended (monotonic seconds), and why it failed."""

    command: Command
    began: float
    ended: float
    error: BaseException | None


class TimedTurns(Turns):
    """Turns that note the time of those whose commands carry a trace context."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timed: list[Timed] = []
        self.plan = self._plan
        self._error: BaseException | None = None

    def _decide(self, work: Any, method: Any, payload: Any, command: Command, row: Any = None) -> bool:
        if names.TRACEPARENT not in command.headers:
            return super()._decide(work, method, payload, command, row)
        self._error = None
        began = time.monotonic()
        done = super()._decide(work, method, payload, command, row)
        self.timed.append(Timed(command, began, time.monotonic(), self._error))
        return done

    def _read(self, work: Any, method: Any, payload: Any, command: Command) -> None:
        began = time.monotonic()
        super()._read(work, method, payload, command)
        if names.TRACEPARENT in command.headers:
            self.timed.append(Timed(command, began, time.monotonic(), None))

    def _failed(self, work: Any, command: Command, error: BaseException, attempt: int, **kwargs: Any) -> bool:
        self._error = error
        return super()._failed(work, command, error, attempt, **kwargs)


class PodSpans:
    """Makes the spans of one pod's batches."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._turns: TimedTurns | None = None
        self._running: dict[tuple[str, str], float] = {}

    def turns(self, *args: Any, **kwargs: Any) -> TimedTurns:
        """The turns of the next batch."""
        before, self._turns = self._turns, TimedTurns(*args, **kwargs)
        if before is not None and before.plan is self._turns.plan:
            self._turns.timed = before.timed  # those that ran while the log was asked
        return self._turns

    def committed(self, batch: Sequence[Item], plan: Plan, marks: Marks) -> None:
        """The spans of a committed batch."""
        offset = time.time_ns() - int(time.monotonic() * 1e9)

        def at(mark: float) -> int:
            return offset + int(mark * 1e9)

        self._note_starts(plan, marks.committed)
        timed = self._turns.timed if self._turns is not None else []
        done = [*timed, *self._finished(batch, marks.began)]
        done = [one for one in done if is_sampled(one.command.headers[names.TRACEPARENT])]
        if not done:
            return
        whole = self._tracer.start_span(
            "batch", Context(), attributes={"troupe.batch.size": len(batch)}, start_time=at(marks.began)
        )
        link = [Link(whole.get_span_context())]
        for one in done:
            turn = self._turn(one, at)
            if len(done) <= LINKS:
                whole.add_link(turn.get_span_context())
            below = trace.set_span_in_context(turn, Context())
            commit = self._tracer.start_span("commit", below, SpanKind.CLIENT, links=link, start_time=at(marks.ran))
            commit.end(at(marks.committed))
            if one.command.reply_to is not None:
                self._reply(one.command, below, at(marks.committed))
        whole.end(at(marks.committed))

    def _turn(self, one: Timed, at: Any) -> trace.Span:
        command = one.command
        caller = context_of(command.headers[names.TRACEPARENT])
        tenant, kind, key = command.address
        attributes: dict[str, str | int] = {
            "troupe.tenant": tenant,
            "troupe.kind": kind,
            "troupe.key": key,
            "troupe.method": command.method,
            "troupe.command.id": command.id,
            "troupe.lane": command.lane.lane,
        }
        if command.stream_at:
            wait = self._tracer.start_span("wait", caller, attributes=attributes, start_time=command.stream_at)
            wait.end(max(at(one.began), command.stream_at))
        span = self._tracer.start_span(
            f"turn {kind}.{command.method}", caller, SpanKind.CONSUMER, attributes, start_time=at(one.began)
        )
        if one.error is not None:
            span.set_attribute("troupe.error", guard.redacted(f"{type(one.error).__name__}: {one.error}")[:500])
            if not isinstance(one.error, Rejected):
                span.set_status(Status(StatusCode.ERROR, type(one.error).__name__))
        span.end(at(one.ended))
        return span

    def _reply(self, command: Command, below: Context, began: int) -> None:
        attributes = {"messaging.system": "nats", "messaging.destination.name": command.reply_to or ""}
        span = self._tracer.start_span("reply", below, SpanKind.PRODUCER, attributes, start_time=began)
        span.end()

    def _note_starts(self, plan: Plan, committed: float) -> None:
        for start in plan.starts:
            if names.TRACEPARENT in start.command.headers and len(self._running) < MAX_RUNNING:
                self._running[start.command.actor, start.command.id] = committed

    def _finished(self, batch: Sequence[Item], ended: float) -> list[Timed]:
        found = []
        for item in batch:
            if isinstance(item, Finished):
                began = self._running.pop((item.command.actor, item.command.id), None)
                if began is not None and not isinstance(item.error, (HandedOver, Suspended)):
                    found.append(Timed(item.command, began, ended, item.error))
        return found

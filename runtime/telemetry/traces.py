"""Trace context, and the spans of what clients of this process send. Imported only when traces are on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.ambient.secrets import guard
from schemas.headers import TRACEPARENT

_propagator = TraceContextTextMapPropagator()


def context_of(traceparent: str | None) -> Context:
    """The context that a `traceparent` header names; an empty one when it names none."""
    return Context() if traceparent is None else _propagator.extract({TRACEPARENT: traceparent}, Context())


def is_sampled(traceparent: str) -> bool:
    """Whether whoever began the trace wants it recorded."""
    return trace.get_current_span(context_of(traceparent)).get_span_context().trace_flags.sampled


def traceparent_of(span: trace.Span) -> str:
    """The header that makes others continue below `span`."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get(TRACEPARENT, "")


class SentSpan:
    """See runtime.client.tracing.Span."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.traceparent = traceparent_of(span)

    def failed(self, code: str) -> None:
        """The outcome is a failure."""
        self._span.set_attribute("troupe.error.code", code)
        if code != "rejected":  # an actor that says no has done what it should
            self._span.set_status(Status(StatusCode.ERROR, code))


class ClientTraces:
    """See runtime.client.tracing.Tracing."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, action: str, subject: str, id: str, headers: Mapping[str, str] | None) -> Iterator[SentSpan]:
        """A span of something that is sent to `subject`."""
        here = contexts.get_current()
        if not trace.get_current_span(here).get_span_context().is_valid:
            here = context_of((headers or {}).get(TRACEPARENT))
        attributes = {"messaging.system": "nats", "messaging.destination.name": subject, **actor_of(subject)}
        if id:
            attributes["troupe.command.id"] = id
        kind = SpanKind.PRODUCER if action == "publish" else SpanKind.CLIENT
        name = f"{action} {_short(subject)}"
        with self._tracer.start_as_current_span(name, here, kind, attributes) as span:
            yield SentSpan(span)


class HandlerSpans:
    """See runtime.ambient.spans.Spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str | int | float | bool]
    ) -> Iterator[trace.Span]:
        """A span of a handler's. What its error says is told without secrets."""
        here = contexts.get_current()
        if not trace.get_current_span(here).get_span_context().is_valid:
            here = context_of(headers.get(TRACEPARENT))
        begun = self._tracer.start_as_current_span(
            guard.redacted(name), here, SpanKind.INTERNAL, dict(attributes), record_exception=False,
            set_status_on_exception=False,
        )  # fmt: skip
        with begun as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("troupe.error", guard.redacted(f"{type(error).__name__}: {error}")[:500])
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def actor_of(subject: str) -> dict[str, str]:
    """The attributes of the actor that a subject is about."""
    tokens = subject.split(".")
    if tokens[0] in ("cmd", "call") and len(tokens) == 5:
        names = ("troupe.tenant", "troupe.kind", "troupe.key", "troupe.method")
        return dict(zip(names, tokens[1:], strict=True))
    return {}


def _short(subject: str) -> str:
    """A name with few values: the kind and the method, not the key."""
    tokens = subject.split(".")
    return f"{tokens[-3]}.{tokens[-1]}" if tokens[0] in ("cmd", "q") else tokens[0]

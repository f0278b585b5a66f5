"""Where telemetry takes part in what clients of this process send. Nothing does by default, at a comparison a call."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol


class Span(Protocol):
    """What is measured between sending something and its outcome."""

    traceparent: str
    """The W3C trace context that goes along with what is sent."""

    def failed(self, code: str) -> None:
        """Says that the outcome is a failure with this code."""


class Tracing(Protocol):
    """Makes spans; an exception that leaves one is its outcome."""

    def span(
        self, action: str, subject: str, id: str, headers: Mapping[str, str] | None
    ) -> AbstractContextManager[Span]:
        """A span of `ask`, `publish` or `query`, in the span of this context, else in the trace that `headers` name."""


active: Tracing | None = None

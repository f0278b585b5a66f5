"""Spans of handlers: `with ctx.trace_span("render", pages="3"):`, in the trace of whoever asked; none in a replay."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol


class Spans(Protocol):
    """Makes spans; an exception that leaves one is its outcome."""

    def span(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str | int | float | bool]
    ) -> AbstractContextManager[object]:
        """A span in the one that is open in this context, else in the trace that `headers` name."""


active: Spans | None = None
"""Set where telemetry is on."""
